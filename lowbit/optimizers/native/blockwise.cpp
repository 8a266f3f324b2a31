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

}  // namespace

// `table` has a code for each half-precision number.
extern "C" void stepbench_encode(const Vector *vectors, int64_t count, int64_t block, const uint8_t *table) {
  for (int64_t at = 0; at < count; ++at)
    for (int64_t start = 0, number = 0; start < vectors[at].size; start += block, ++number) {
      const float *values = vectors[at].values + start;
      uint8_t *codes = vectors[at].codes + start;
      const int64_t length = std::min(block, vectors[at].size - start);
      // Magnitudes compared as whole numbers: they have the same order, and what is not a number comes out on top.
      int32_t top = 0;
#pragma omp simd reduction(max : top)
      for (int64_t i = 0; i < length; ++i) top = std::max(top, bits(values[i]) & INT32_MAX);
      float largest;
      std::memcpy(&largest, &top, sizeof largest);
      // Written so that what is not a number stays.
      const float scale = largest < FLT_MIN ? FLT_MIN : largest, inverse = 1 / scale;
      vectors[at].scales[number] = scale;
      for (int64_t i = 0; i < length; ++i) codes[i] = table[half(values[i] * inverse)];
    }
}

// `table` has the value of each code.
extern "C" void stepbench_decode(const Vector *vectors, int64_t count, int64_t block, const float *table) {
  for (int64_t at = 0; at < count; ++at)
    for (int64_t i = 0; i < vectors[at].size; ++i)
      vectors[at].values[i] = table[vectors[at].codes[i]] * vectors[at].scales[i / block];
}
