/* The sums of the tensor digest ml128 (pipelines/README.md), for a CPU.

   Loaded with ctypes into whatever Python trains: nothing is needed of a C library, and of Python nothing either. */

#include <stddef.h>
#include <stdint.h>

#define BLOCK 1024 /* words that become one pair of sums */
#define GOLDEN 0x9E3779B97F4A7C15u
#define MIX(x) \
    ((x) = ((x) ^ ((x) >> 30)) * 0xBF58476D1CE4E5B9u, (x) = ((x) ^ ((x) >> 27)) * 0x94D049BB133111EBu, (x) ^= (x) >> 31)

struct sums {
    uint64_t a, b;
};

/* The factors of a and of b for words at even and at odd places: as a processor multiplies them, two words to a lane. */
static struct {
    uint64_t even[BLOCK / 2], odd[BLOCK / 2];
} factors_a __attribute__((aligned(32))), factors_b __attribute__((aligned(32)));

__attribute__((constructor)) static void make_factors(void)
{
    for (size_t i = 0; i < BLOCK; i++) {
        uint64_t x = (i + 1) * GOLDEN;
        MIX(x);
        (i % 2 ? factors_a.odd : factors_a.even)[i / 2] = (uint32_t)x | 1;
        (i % 2 ? factors_b.odd : factors_b.even)[i / 2] = x >> 32 | 1;
    }
}

static void add_word(struct sums *block, size_t place, uint32_t word)
{
    block->a += word * (place % 2 ? factors_a.odd : factors_a.even)[place / 2];
    block->b += word * (place % 2 ? factors_b.odd : factors_b.even)[place / 2];
}

#ifdef __x86_64__
/* Adds the words of a block, as many as whole vectors hold; returns their number. MULTIPLY takes the lower half of each
   lane: in `words` those at even places, and shifted those at odd ones. */
#define ADD_VECTORS(NAME, BYTES, MULTIPLY) \
    static size_t NAME(struct sums *block, const char *data, size_t num) \
    { \
        typedef uint64_t lanes __attribute__((vector_size(BYTES))); \
        typedef int halves __attribute__((vector_size(BYTES))); \
        const lanes *even_a = (const lanes *)factors_a.even, *odd_a = (const lanes *)factors_a.odd; \
        const lanes *even_b = (const lanes *)factors_b.even, *odd_b = (const lanes *)factors_b.odd; \
        lanes a = {0}, b = {0}; \
        for (size_t i = 0; i < num / (BYTES / 4); i++) { \
            lanes words, shifted; \
            __builtin_memcpy(&words, data + i * BYTES, BYTES); /* nothing says that it is aligned */ \
            shifted = words >> 32; \
            a += (lanes)MULTIPLY((halves)words, (halves)even_a[i]) + (lanes)MULTIPLY((halves)shifted, (halves)odd_a[i]); \
            b += (lanes)MULTIPLY((halves)words, (halves)even_b[i]) + (lanes)MULTIPLY((halves)shifted, (halves)odd_b[i]); \
        } \
        for (size_t lane = 0; lane < BYTES / 8; lane++) { \
            block->a += a[lane]; \
            block->b += b[lane]; \
        } \
        return num - num % (BYTES / 4); \
    }
ADD_VECTORS(add_fours, 16, __builtin_ia32_pmuludq128)
__attribute__((target("avx2"))) ADD_VECTORS(add_eights, 32, __builtin_ia32_pmuludq256)
#endif

/* The pair of sums of one block: `size` bytes, at most four of each word. */
static struct sums sums_of_block(const char *data, size_t size)
{
    struct sums block = {0, 0};
    size_t num = size / 4, done = 0;
    uint32_t word;
#ifdef __x86_64__
    done = __builtin_cpu_supports("avx2") ? add_eights(&block, data, num) : add_fours(&block, data, num);
#endif
    for (; done < num; done++) {
        __builtin_memcpy(&word, data + 4 * done, 4);
        add_word(&block, done, word);
    }
    word = 0;
    for (size_t i = 0; i < size % 4; i++)
        word |= (uint32_t)(unsigned char)data[4 * num + i] << 8 * i;
    if (word)
        add_word(&block, num, word);
    return block;
}

static void mix_in(struct sums *sums, uint64_t position, uint32_t word)
{
    uint64_t x = word + (position + 1) * GOLDEN;
    MIX(x);
    sums->a += x;
    sums->b += x * x;
}

static struct sums sums_of(const char *data, size_t size)
{
    struct sums sums = {0, 0};
    uint64_t position = 0;
    for (size_t begin = 0; begin < size; begin += 4 * BLOCK) {
        size_t rest = size - begin;
        struct sums block = sums_of_block(data + begin, rest < 4 * BLOCK ? rest : 4 * BLOCK);
        mix_in(&sums, position++, (uint32_t)block.a);
        mix_in(&sums, position++, block.a >> 32);
        mix_in(&sums, position++, (uint32_t)block.b);
        mix_in(&sums, position++, block.b >> 32);
    }
    return sums;
}

/* Write the two sums of each of `num` byte strings, `sizes[i]` bytes at `data[i]`. */
void ml128(const char *const *data, const size_t *sizes, size_t num, struct sums *sums)
{
    for (size_t i = 0; i < num; i++)
        sums[i] = sums_of(data[i], sizes[i]);
}
