/* The sums of the tensor digest sm128 (pipelines/README.md), for a CPU.

   Loaded with ctypes into whatever Python trains: nothing is needed of a C library, and of Python nothing either. */

#include <stddef.h>
#include <stdint.h>

#define GOLDEN 0x9E3779B97F4A7C15u
#define MIX(x) \
    ((x) = ((x) ^ ((x) >> 30)) * 0xBF58476D1CE4E5B9u, (x) = ((x) ^ ((x) >> 27)) * 0x94D049BB133111EBu, (x) ^= (x) >> 31)

struct sums {
    uint64_t a, b;
};

static void add(struct sums *sums, uint64_t position, uint32_t word)
{
    uint64_t x = word + (position + 1) * GOLDEN;
    MIX(x);
    sums->a += x;
    sums->b += x * x;
}

#ifdef __x86_64__
/* Eight words at a time, by the multiplication that AVX-512DQ has. With AVX2, which has none, it is no faster than one
   word at a time. Returns the number of words that were added. */
__attribute__((target("avx512f,avx512dq"))) static size_t add_eights(struct sums *sums, const char *data, size_t num)
{
    typedef uint64_t eight __attribute__((vector_size(64)));
    typedef uint32_t eight_words __attribute__((vector_size(32)));
    eight a = {0}, b = {0}, ramp = {1, 2, 3, 4, 5, 6, 7, 8};
    size_t done = 0;
    ramp *= GOLDEN;
    for (; num - done >= 8; done += 8) {
        eight_words words;
        __builtin_memcpy(&words, data + 4 * done, sizeof words);
        eight x = __builtin_convertvector(words, eight) + ramp;
        ramp += 8 * GOLDEN;
        MIX(x);
        a += x;
        b += x * x;
    }
    for (int lane = 0; lane < 8; lane++) {
        sums->a += a[lane];
        sums->b += b[lane];
    }
    return done;
}
#endif

static struct sums sums_of(const char *data, size_t size)
{
    struct sums sums = {0, 0};
    size_t num = size / 4, done = 0;
    uint32_t word = 0;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512dq"))
        done = add_eights(&sums, data, num);
#endif
    for (; done < num; done++) {
        __builtin_memcpy(&word, data + 4 * done, 4); /* nothing says that it is aligned */
        add(&sums, done, word);
    }
    if (size % 4) {
        word = 0;
        for (size_t i = 0; i < size % 4; i++)
            word |= (uint32_t)(unsigned char)data[4 * num + i] << 8 * i;
        add(&sums, num, word);
    }
    return sums;
}

/* Write the two sums of each of `num` byte strings, `sizes[i]` bytes at `data[i]`. */
void sm128(const char *const *data, const size_t *sizes, size_t num, struct sums *sums)
{
    for (size_t i = 0; i < num; i++)
        sums[i] = sums_of(data[i], sizes[i]);
}
