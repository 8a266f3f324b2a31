// Kronecker vectors of many layers in one call, fp32: the means over samples and positions that kronecker.py defines.
//
// A layer's values are pictures, [samples, channels, high, wide]; rows of a matrix are pictures of one pixel. The mean
// of an element of a kernel's patch over all positions is linear in the picture and separates over its axes, so that
// it is rows x columns^T for the two tables of kronecker.window_means.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

// As native/vectors.py lays it out: 8 bytes each.
struct Means {
  const float *values;   // [samples, channels, high, wide]
  const float *rows;     // [kernel_high, high]
  const float *columns;  // [kernel_wide, wide]
  int64_t place;         // where [channels, kernel_high, kernel_wide] begin in `found`
  int64_t samples, channels, high, wide, kernel_high, kernel_wide;
};

const float *mean_picture(const Means &of, std::vector<float> &scratch) {
  if (of.samples == 1) return of.values;
  const int64_t size = of.channels * of.high * of.wide;
  scratch.assign(of.values, of.values + size);
  for (int64_t sample = 1; sample < of.samples; ++sample) {
    const float *values = of.values + sample * size;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) scratch[i] += values[i];
  }
  const float share = 1.0f / of.samples;
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) scratch[i] *= share;
  return scratch.data();
}

// lines[row] <- sum over the picture's rows, each by its share: a few pixels side by side, for all rows of a kernel.
template <int kernel, int pixels>
int64_t lines_of(const Means &of, const float *seen, float *lines, int64_t at) {
  for (; at + pixels <= of.wide; at += pixels) {
    float sums[kernel][pixels] = {};
    for (int64_t high = 0; high < of.high; ++high)
      for (int row = 0; row < kernel; ++row) {
        const float share = of.rows[row * of.high + high];
#pragma omp simd
        for (int i = 0; i < pixels; ++i) sums[row][i] += share * seen[high * of.wide + at + i];
      }
    for (int row = 0; row < kernel; ++row) std::copy_n(sums[row], pixels, lines + row * of.wide + at);
  }
  return at;
}

template <int kernel>
void lines_of(const Means &of, const float *seen, float *lines) {
  lines_of<kernel, 1>(of, seen, lines, lines_of<kernel, 8>(of, seen, lines, lines_of<kernel, 16>(of, seen, lines, 0)));
}

float dot(const float *x, const float *y, int64_t length) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < length; ++i) sum += x[i] * y[i];
  return sum;
}

void mean_patch(const Means &of, const float *picture, std::vector<float> &lines, float *found) {
  lines.resize(of.kernel_high * of.wide);
  for (int64_t channel = 0; channel < of.channels; ++channel) {
    const float *seen = picture + channel * of.high * of.wide, *line = lines.data();
    if (of.high == 1 && of.kernel_high == 1 && of.rows[0] == 1) {
      line = seen;
    } else if (of.kernel_high == 3) {
      lines_of<3>(of, seen, lines.data());
    } else {
      Means one = of;
      for (int64_t row = 0; row < of.kernel_high; ++row, one.rows += of.high)
        lines_of<1>(one, seen, lines.data() + row * of.wide);
    }
    for (int64_t row = 0; row < of.kernel_high; ++row, line += of.wide)
      for (int64_t column = 0; column < of.kernel_wide; ++column)
        *found++ = dot(of.columns + column * of.wide, line, of.wide);
  }
}

}  // namespace

extern "C" void stepbench_vectors(const Means *all, int64_t count, float *found) {
  std::vector<float> scratch, lines;
  for (int64_t at = 0; at < count; ++at) {
    const Means &of = all[at];
    const float *picture = mean_picture(of, scratch);
    if (of.high * of.wide * of.kernel_high * of.kernel_wide == 1) {
      const float share = of.rows[0] * of.columns[0];
#pragma omp simd
      for (int64_t i = 0; i < of.channels; ++i) found[of.place + i] = picture[i] * share;
    } else {
      mean_patch(of, picture, lines, found + of.place);
    }
  }
}
