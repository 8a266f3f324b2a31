// Block-wise 8-bit codes of many short vectors in one call, to and from a table of 256 values.
//
// Codes, scales and values are bit for bit those of blockwise.py, which says what they are.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

// As native/blockwise.py lays it out: 8 bytes each. Codes are as many as values, scales one for each started block.
struct Vector {
  float *values;
  uint8_t *codes;
  float *scales;
  int64_t size;
};

// Values of which halves are made at a time.
constexpr int64_t LONGEST = 256;

int32_t bits(float value) {
  int32_t found;
  std::memcpy(&found, &value, sizeof found);
  return found;
}

// The bits of the half-precision number nearest to one in [-1, 1], plus 2^15 as a number with a sign.
int32_t half(float value) {
  const float size = std::fabs(value);
  const int32_t whole = bits(size);
  const int32_t normal = ((whole + 0xfff + ((whole >> 13) & 1)) >> 13) - (112 << 10);
  const int32_t subnormal = static_cast<int32_t>(std::nearbyint(size * 0x1p24f));
  return ((size < 0x1p-14f ? subnormal : normal) & 0x7fff) + (bits(value) < 0 ? 0 : 1 << 15);
}

void encode(const Vector &vector, int64_t block, const uint8_t *table) {
  for (int64_t start = 0, number = 0; start < vector.size; start += block, ++number) {
    const float *values = vector.values + start;
    uint8_t *codes = vector.codes + start;
    const int64_t length = std::min(block, vector.size - start);
    // Magnitudes compared as whole numbers: they have the same order, and what is not a number comes out on top.
    int32_t top = 0;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < length; ++i) top = std::max(top, bits(values[i]) & INT32_MAX);
    float largest;
    std::memcpy(&largest, &top, sizeof largest);
    // Written so that what is not a number stays.
    const float scale = largest < FLT_MIN ? FLT_MIN : largest, inverse = 1 / scale;
    vector.scales[number] = scale;
    // Apart, as vectors can be made of the first only.
    int32_t halves[LONGEST];
    for (int64_t first = 0; first < length; first += LONGEST) {
      const int64_t count = std::min(LONGEST, length - first);
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) halves[i] = half(values[first + i] * inverse);
      for (int64_t i = 0; i < count; ++i) codes[first + i] = table[halves[i]];
    }
  }
}

void decode(const Vector &vector, int64_t block, const float *table) {
  for (int64_t start = 0, number = 0; start < vector.size; start += block, ++number) {
    const float scale = vector.scales[number];
    const uint8_t *codes = vector.codes + start;
    float *values = vector.values + start;
    const int64_t length = std::min(block, vector.size - start);
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) values[i] = table[codes[i]] * scale;
  }
}

}  // namespace

// `table` has a code for each half-precision number.
extern "C" void stepbench_encode(const Vector *vectors, int64_t count, int64_t block, const uint8_t *table) {
  for (int64_t at = 0; at < count; ++at) encode(vectors[at], block, table);
}

// `table` has the value of each code.
extern "C" void stepbench_decode(const Vector *vectors, int64_t count, int64_t block, const float *table) {
  for (int64_t at = 0; at < count; ++at) decode(vectors[at], block, table);
}

// Running averages, (1 - weight) old + weight fresh as torch.lerp rounds it, of vectors in codes. They come to be in
// `values`, and in codes again where `codes_of` is given.
extern "C" void stepbench_average(const Vector *vectors, const float *const *fresh, int64_t count, double weight,
                                  int64_t block, const float *values_of, const uint8_t *codes_of) {
  const float share = static_cast<float>(weight), factor = share < 0.5f ? share : share - 1;
  for (int64_t at = 0; at < count; ++at) {
    const Vector &vector = vectors[at];
    decode(vector, block, values_of);
    float *__restrict__ old = vector.values;
    const float *__restrict__ next = fresh[at];
#pragma omp simd
    for (int64_t i = 0; i < vector.size; ++i) old[i] = factor * (next[i] - old[i]) + (share < 0.5f ? old[i] : next[i]);
    if (codes_of) encode(vector, block, codes_of);
  }
}
