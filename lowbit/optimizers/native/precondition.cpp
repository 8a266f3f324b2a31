// What Eva needs of all layers before it can descend, fp32: each gradient is read once, or not at all.
//
// The equations are those of eva_update.py and factors.py, which tests hold this to. Sums over a row are taken in fp32,
// sums over rows and what follows in double precision, in an order that no number of threads changes.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// As native/precondition.py lays it out: 8 bytes each.
struct Layer {
  const float *grad;       // G without its bias column: [rows, columns]
  const float *bias_grad;  // [rows], or null
  const float *a;          // [groups * columns]
  const float *g;          // [rows]
  // What is known of G, or null: with samples > 0 its factors [samples, columns] and [samples, rows], with 0 the a that
  // was expected and what `rows` found of it.
  const float *inputs;
  const float *outputs;
  float *column;  // to be filled: -beta g, [rows]
  int64_t rows, columns, groups, samples;
};

struct Block {
  double beta, v_dot_g, v_dot_v, grad_sq;
};

struct Sums {
  double grad_sq = 0, g_grad_a = 0;
};

// Fewer elements than this are read sooner than threads are called.
constexpr int64_t SHARED = 1 << 16;
// Rows of G that are compared with its factors' product, and by how much they may differ: products round.
constexpr int64_t SEEN = 4;
constexpr double SAME = 1e-4;

struct Row {
  float square, product;
};

double dot(const float *x, const float *y, int64_t length) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) sum += x[i] * y[i];
  return sum;
}

// |row|^2 and row . a; no part of a caller, so that it rounds alike wherever it is called from.
__attribute__((noinline)) Row of_row(const float *grad, const float *a, int64_t columns) {
  Row found = {0, 0};
  float square = 0, product = 0;
#pragma omp simd reduction(+ : square, product)
  for (int64_t i = 0; i < columns; ++i) {
    square += grad[i] * grad[i];
    product += grad[i] * a[i];
  }
  found.square = square;
  found.product = product;
  return found;
}

// The a of a row's curvature block.
const float *a_of(const Layer &layer, int64_t row) {
  return layer.a + row / (layer.rows / layer.groups) * layer.columns;
}

void read_rows(const Layer &layer, int64_t first, int64_t rows, int32_t threads, Row *found) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * layer.columns >= SHARED)
  for (int64_t row = first; row < first + rows; ++row)
    found[row - first] = of_row(layer.grad + row * layer.columns, a_of(layer, row), layer.columns);
}

// Whether what was found of the rows of G, when it was made, is still so: if a is what was expected, and if some rows are
// what they were, the longest of them too, which clipping would have changed.
bool holds(const Layer &layer) {
  if (std::memcmp(layer.inputs, layer.a, layer.groups * layer.columns * sizeof(float))) return false;
  const Row *known = reinterpret_cast<const Row *>(layer.outputs);
  const int64_t step = std::max<int64_t>(1, layer.rows / SEEN);
  const auto same = [&](int64_t at) {
    const Row found = of_row(layer.grad + at * layer.columns, a_of(layer, at), layer.columns);
    return !std::memcmp(&found, known + at, sizeof found);
  };
  int64_t longest = 0;
  for (int64_t at = 1; at < layer.rows; ++at)
    if (known[at].square > known[longest].square) longest = at;
  for (int64_t at = step / 2; at < layer.rows; at += step)
    if (!same(at)) return false;
  return same(longest);
}

// |G|^2 and g^T G a of the rows of one curvature block, the bias column included, whose part of a is 1.
Sums from_rows(const Layer &layer, int64_t group, const Row *of_rows) {
  const int64_t rows = layer.rows / layer.groups, first = group * rows;
  Sums sums;
  for (int64_t row = first; row < first + rows; ++row) {
    const Row &found = of_rows[row - first];
    const double last = layer.bias_grad ? layer.bias_grad[row] : 0;
    sums.grad_sq += found.square + last * last;
    sums.g_grad_a += (found.product + last) * layer.g[row];
  }
  return sums;
}

// Whether some rows of G are those of D^T X: a penalty on the weight, added in the same backward pass, is not in it.
bool is_product(const Layer &layer, std::vector<float> &row) {
  const int64_t rows = layer.rows, columns = layer.columns, step = std::max<int64_t>(1, rows / SEEN);
  row.resize(columns);
  for (int64_t at = step / 2; at < rows; at += step) {
    const float *grad = layer.grad + at * columns;
    std::fill(row.begin(), row.end(), 0.0f);
    for (int64_t r = 0; r < layer.samples; ++r) {
      const float *x = layer.inputs + r * columns, d = layer.outputs[r * rows + at];
#pragma omp simd
      for (int64_t i = 0; i < columns; ++i) row[i] += d * x[i];
    }
    float apart = 0;
#pragma omp simd reduction(+ : apart)
    for (int64_t i = 0; i < columns; ++i) apart += (grad[i] - row[i]) * (grad[i] - row[i]);
    const double size = dot(grad, grad, columns) + dot(row.data(), row.data(), columns);
    // Also where either is not a number.
    if (!(apart <= SAME * SAME * size)) return false;
  }
  return true;
}

// The same sums from X and D, where G = D^T X.
Sums from_factors(const Layer &layer) {
  const int64_t rows = layer.rows, columns = layer.columns;
  const double one = layer.bias_grad ? 1 : 0;
  Sums sums;
  for (int64_t r = 0; r < layer.samples; ++r) {
    const float *x = layer.inputs + r * columns, *d = layer.outputs + r * rows;
    sums.g_grad_a += dot(d, layer.g, rows) * (dot(x, layer.a, columns) + one);
    for (int64_t s = 0; s <= r; ++s) {
      const double both = (dot(x, layer.inputs + s * columns, columns) + one) * dot(d, layer.outputs + s * rows, rows);
      sums.grad_sq += s == r ? both : 2 * both;
    }
  }
  return sums;
}

Block block(const Layer &layer, int64_t group, const Sums &sums, double damping) {
  const int64_t rows = layer.rows / layer.groups;
  const float *a = layer.a + group * layer.columns, *g = layer.g + group * rows;
  const double a_sq = dot(a, a, layer.columns) + (layer.bias_grad ? 1 : 0), both = a_sq * dot(g, g, rows);
  const double beta = sums.g_grad_a / (both + damping);
  for (int64_t row = 0; row < rows; ++row) layer.column[group * rows + row] = static_cast<float>(-beta * g[row]);
  return {beta, (sums.grad_sq - beta * sums.g_grad_a) / damping,
          (sums.grad_sq - 2 * beta * sums.g_grad_a + beta * beta * both) / (damping * damping), sums.grad_sq};
}

// nu; a negative clip is none.
double clip_factor(double v_dot_g_lr_sq, double v_dot_v, double grad_sq, double kl_clip) {
  if (kl_clip < 0) return 1;
  if (kl_clip == 0) return v_dot_v > 0 ? std::sqrt(grad_sq / v_dot_v) : 1;
  return v_dot_g_lr_sq > 0 ? std::min(1.0, std::sqrt(kl_clip / v_dot_g_lr_sq)) : 1;
}

}  // namespace

// Fills the layers' columns and `scale`, nu / damping. `lrs` has a learning rate for each layer.
extern "C" void stepbench_precondition(const Layer *layers, int64_t count, const double *lrs, double damping,
                                       double kl_clip, float *scale, int32_t threads) {
  int64_t most = 0;
  for (int64_t at = 0; at < count; ++at) most = std::max(most, layers[at].rows);
  std::vector<Row> read(most);
  std::vector<float> row;
  double v_dot_g_lr_sq = 0, v_dot_v = 0, grad_sq = 0;
  for (int64_t at = 0; at < count; ++at) {
    const Layer &layer = layers[at];
    const int64_t rows = layer.rows / layer.groups;
    const bool product = layer.inputs && layer.samples > 0 && is_product(layer, row);
    const bool known = layer.inputs && layer.samples == 0 && holds(layer);
    for (int64_t group = 0; group < layer.groups; ++group) {
      if (!product && !known) read_rows(layer, group * rows, rows, threads, read.data());
      const Row *of_rows = known ? reinterpret_cast<const Row *>(layer.outputs) + group * rows : read.data();
      const Block found = block(layer, group, product ? from_factors(layer) : from_rows(layer, group, of_rows), damping);
      v_dot_g_lr_sq += lrs[at] * lrs[at] * found.v_dot_g;
      v_dot_v += found.v_dot_v;
      grad_sq += found.grad_sq;
    }
  }
  *scale = static_cast<float>(clip_factor(v_dot_g_lr_sq, v_dot_v, grad_sq, kl_clip) / damping);
}

// What `precondition` needs of the rows of a gradient that was just made, for the a that is expected: `found` [rows].
extern "C" void stepbench_rows(const float *grad, const float *a, int64_t rows, int64_t columns, int64_t groups,
                               int32_t threads, Row *found) {
  Layer layer = {};
  layer.grad = grad;
  layer.a = a;
  layer.rows = rows;
  layer.columns = columns;
  layer.groups = groups;
  read_rows(layer, 0, rows, threads, found);
}
