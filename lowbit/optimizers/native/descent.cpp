// SGD with momentum along preconditioned gradients nu V = scale (G + column a^T), fp32: each parameter in one pass.
//
// What torch has no kernel for: the outer product joins the gradient in a register, and momentum of 8 bits is decoded,
// used and encoded while its block is in the nearest cache. 20 bytes of memory move for each parameter, 14 in 8 bits.
// The mathematics is that of descent.py and square_map.py, which tests hold it to.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

// The longest block of square_map.py.
constexpr int64_t LONGEST = 256;
// Neighbours that a processor takes at once, at most.
constexpr int64_t VECTOR = 16;
// How many neighbours ahead of the work memory is asked for. A processor looks ahead by itself, but not from one page of
// 1,024 floats to the next.
constexpr int64_t AHEAD = 512;
constexpr float SMALLEST_SCALE = 1e-30f;
// A number among whole ones only, of which the last bits are what is added: so the nearest whole number is found.
constexpr float WHOLE = 3 << 22;
constexpr float TOP_SQUARED = 127.0f * 127.0f;

// As native/descent.py lays it out: 8 bytes each. Momentum is either a buffer, or codes [blocks, block] and scales.
struct Part {
  float *parameter;     // [rows, columns]
  const float *grad;    // [rows, columns]
  float *buffer;        // [rows, columns], or null
  int8_t *codes;        // [blocks * block], or null
  float *scales;        // [blocks]
  const float *column;  // [rows], or null where nu V is the gradient itself
  const float *a;       // [groups * columns], or null for a bias: G + column then
  int64_t rows, columns, groups, block;
};

struct Rates {
  double lr, momentum, weight_decay;
};

struct Step {
  float scale, lr, momentum, weight_decay;
};

// The direction of n neighbours, from one place of a parameter on: scale G + column a, scale (G + column), or G.
enum Kind { plain, bias, weight };

struct Stretch {
  const float *grad, *vector;
  float scale, factor;
};

template <Kind kind>
Stretch stretch(const Part &part, const Step &step, int64_t at) {
  if (kind == plain) return {part.grad + at, nullptr, 1.0f, 0.0f};
  if (kind == bias) return {part.grad + at, part.column + at, step.scale, step.scale};
  const int64_t row = at / part.columns, group = row / (part.rows / part.groups);
  return {part.grad + at, part.a + group * part.columns + at % part.columns, step.scale, part.column[row] * step.scale};
}

template <Kind kind>
inline float direction(const Stretch &of, int64_t i) {
  return kind == plain ? of.grad[i] : of.scale * of.grad[i] + of.factor * of.vector[i];
}

// How many neighbours have one stretch: only a weight has another one in each row.
template <Kind kind>
int64_t until(const Part &part, int64_t at, int64_t end) {
  return kind == weight ? std::min(end, (at / part.columns + 1) * part.columns) : end;
}

template <Kind kind>
void buffered(const Part &part, const Step &step, int64_t first, int64_t last) {
  for (int64_t at = first; at < last;) {
    const int64_t end = until<kind>(part, at, last);
    const Stretch of = stretch<kind>(part, step, at);
    float *__restrict__ parameter = part.parameter + at, *__restrict__ buffer = part.buffer + at;
    const auto move = [&](int64_t i) {
      const float moved = step.momentum * buffer[i] + direction<kind>(of, i) + step.weight_decay * parameter[i];
      buffer[i] = moved;
      parameter[i] -= step.lr * moved;
    };
    const int64_t full = (end - at) / VECTOR * VECTOR;
    for (int64_t line = 0; line < full; line += VECTOR) {
      __builtin_prefetch(of.grad + line + AHEAD, 0);
      __builtin_prefetch(parameter + line + AHEAD, 1);
      __builtin_prefetch(buffer + line + AHEAD, 1);
#pragma omp simd
      for (int64_t i = line; i < line + VECTOR; ++i) move(i);
    }
#pragma omp simd
    for (int64_t i = full; i < end - at; ++i) move(i);
    at = end;
  }
}

// Moves a parameter along momentum that was decoded and becomes the new one. Returns the bits of its magnitude: as
// whole numbers they have the same order, and what is not a number comes out on top.
template <Kind kind>
inline int32_t moved_one(const Stretch &of, const Step &step, float *__restrict__ parameter, float *__restrict__ moved,
                         int64_t i) {
  const float next = moved[i] + (direction<kind>(of, i) + step.weight_decay * parameter[i]);
  moved[i] = next;
  parameter[i] -= step.lr * next;
  int32_t magnitude;
  std::memcpy(&magnitude, &next, sizeof magnitude);
  return magnitude & INT32_MAX;
}

// Moves n neighbours and returns the largest. Those that do not fill a vector are a vector under a mask: one by one
// they take as long as a quarter of a block.
template <Kind kind>
inline int32_t moved_on(const Stretch &of, const Step &step, float *__restrict__ parameter, float *__restrict__ moved,
                        int64_t n) {
  const int64_t full = n / VECTOR * VECTOR;
  int32_t top = 0;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < full; ++i) top = std::max(top, moved_one<kind>(of, step, parameter, moved, i));
  if (full == n) return top;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < VECTOR; ++i)
    if (i < n - full) top = std::max(top, moved_one<kind>(of, step, parameter, moved, full + i));
  return top;
}

template <Kind kind>
void coded(const Part &part, const Step &step, int64_t first, int64_t last) {
  const int64_t size = part.rows * part.columns;
  // Bytes are coded in whole vectors, many to each, to a copy that is as long as that takes.
  const int64_t whole = (part.block + 63) / 64 * 64;
  alignas(64) int8_t codes[LONGEST] = {};
  alignas(64) float moved[LONGEST] = {};
  for (int64_t block = first; block < last; ++block) {
    const int64_t start = block * part.block, stop = std::min(start + part.block, size);
    const float factor = part.scales[block] * step.momentum / TOP_SQUARED;
    // Read where they are, as what is behind a block is the next one, which nothing is made of here. The last has none.
    const int8_t *known = part.codes + start;
    if (start + whole > size) known = static_cast<int8_t *>(std::memcpy(codes, known, stop - start));
#pragma omp simd
    for (int64_t i = 0; i < whole; ++i) {
      const float code = known[i];
      moved[i] = code * std::fabs(code) * factor;
    }
    int32_t top = 0;
    for (int64_t at = start; at < stop;) {
      const int64_t end = until<kind>(part, at, stop);
      const Stretch of = stretch<kind>(part, step, at);
      top = std::max(top, moved_on<kind>(of, step, part.parameter + at, moved + (at - start), end - at));
      at = end;
    }
    float largest;
    std::memcpy(&largest, &top, sizeof largest);
    const float scale = part.scales[block] = largest + SMALLEST_SCALE, inverse = TOP_SQUARED / scale;
#pragma omp simd
    for (int64_t i = 0; i < whole; ++i) {
      const float root = std::copysign(std::sqrt(std::fabs(moved[i]) * inverse), moved[i]) + WHOLE;
      int32_t bits;
      std::memcpy(&bits, &root, sizeof bits);
      codes[i] = static_cast<int8_t>(bits);
    }
    std::memcpy(part.codes + start, codes, stop - start);
  }
}

template <Kind kind>
void share(const Part &part, const Step &step, int64_t thread, int64_t threads) {
  const int64_t size = part.rows * part.columns;
  // Threads meet at blocks, or at lines of the cache.
  const int64_t unit = part.codes ? part.block : 64, units = (size + unit - 1) / unit;
  const int64_t first = units * thread / threads, last = units * (thread + 1) / threads;
  if (part.codes)
    coded<kind>(part, step, first, last);
  else
    buffered<kind>(part, step, first * unit, std::min(last * unit, size));
}

}  // namespace

// `scale` may be null where no part has a column.
extern "C" void stepbench_descend(const Part *parts, int64_t count, const float *scale, const Rates *rates,
                                  int32_t threads) {
  const Step step = {scale ? *scale : 1.0f, static_cast<float>(rates->lr), static_cast<float>(rates->momentum),
                     static_cast<float>(rates->weight_decay)};
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t at = 0; at < count; ++at) {
    const Part &part = parts[at];
    const auto one = part.a ? share<weight> : part.column ? share<bias> : share<plain>;
    one(part, step, omp_get_thread_num(), omp_get_num_threads());
  }
}
