// What Eva needs of all layers before it can descend, fp32: each gradient is read once, or not at all.
//
// The equations are those of eva_update.py and factors.py, which tests hold this to. Sums over a row are taken in fp32,
// sums over rows and what follows in double precision, in an order that no number of threads changes.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

// As native/precondition.py lays it out: 8 bytes each.
struct Layer {
  const float *grad;       // G without its bias column: [rows, columns]
  const float *bias_grad;  // [rows], or null
  const float *a;          // [groups * columns]
  const float *g;          // [rows]
  const float *inputs;     // factors of G: [samples, columns], or null where G is read
  const float *outputs;    // [samples, rows]
  float *column;           // to be filled: -beta g, [rows]
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

double dot(const float *x, const float *y, int64_t length) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) sum += x[i] * y[i];
  return sum;
}

// |G|^2 and g^T G a of the rows of one curvature block, the bias column included, whose part of a is 1.
Sums from_gradient(const Layer &layer, int64_t group, int32_t threads, std::vector<Sums> &of_rows) {
  const int64_t rows = layer.rows / layer.groups, columns = layer.columns, first = group * rows;
  const float *a = layer.a + group * columns;
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * columns >= SHARED)
  for (int64_t row = first; row < first + rows; ++row) {
    const float *grad = layer.grad + row * columns;
    float square = 0, product = 0;
#pragma omp simd reduction(+ : square, product)
    for (int64_t i = 0; i < columns; ++i) {
      square += grad[i] * grad[i];
      product += grad[i] * a[i];
    }
    const float last = layer.bias_grad ? layer.bias_grad[row] : 0;
    of_rows[row - first] = {double(square) + double(last) * last, (double(product) + last) * layer.g[row]};
  }
  Sums sums;
  for (int64_t row = 0; row < rows; ++row) {
    sums.grad_sq += of_rows[row].grad_sq;
    sums.g_grad_a += of_rows[row].g_grad_a;
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
  std::vector<Sums> of_rows(most);
  std::vector<float> row;
  double v_dot_g_lr_sq = 0, v_dot_v = 0, grad_sq = 0;
  for (int64_t at = 0; at < count; ++at)
    for (int64_t group = 0; group < layers[at].groups; ++group) {
      const Layer &layer = layers[at];
      const bool product = layer.inputs && is_product(layer, row);
      const Sums sums = product ? from_factors(layer) : from_gradient(layer, group, threads, of_rows);
      const Block found = block(layer, group, sums, damping);
      v_dot_g_lr_sq += lrs[at] * lrs[at] * found.v_dot_g;
      v_dot_v += found.v_dot_v;
      grad_sq += found.grad_sq;
    }
  *scale = static_cast<float>(clip_factor(v_dot_g_lr_sq, v_dot_v, grad_sq, kl_clip) / damping);
}
