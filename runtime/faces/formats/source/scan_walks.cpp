// The ways of `jpeg_walks.py` over the Huffman codes of a JPEG's scan (ITU T.81, annexes F.2 and G.2), with its verdicts.
// Behind the end of a segment the bits are zeros; no byte there is read. Every function may be called from several threads.
#include <algorithm>
#include <bitset>
#include <cstdint>
#include <cstring>

#if defined(_WIN32)
#define EXPORTED extern "C" __declspec(dllexport)
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif

namespace {

enum Way : int32_t { BLOCKS, MEANS, BAND, REFINEMENT };
enum Verdict : int32_t { WHOLE, EARLY, LEFT, NO_CODE, HOLE, LONG_RUN, UNSOUND };

constexpr int COMPONENTS = 4, MOST_BLOCKS = 16, COUNTS = 16, MOST_SYMBOLS = 256, LARGEST_MEAN = 11, ANY = 15;
constexpr int64_t HOLE_BYTES = 16;

struct Scan {  // as `compiled_walks.py` has it
  const uint8_t* data;     // the segments, one behind the other
  const int64_t* lengths;  // of each segment, in bytes
  int64_t segments, units, units_each;
  int32_t* means;          // for each block 16 times the difference's bits, + their number
  uint64_t* known;         // for each block a bit for each coefficient that is not zero
  int32_t way, components, first, last;
  int32_t blocks[COMPONENTS];  // of each component in a group
  uint8_t mean_codes[COMPONENTS][COUNTS + MOST_SYMBOLS], codes[COMPONENTS][COUNTS + MOST_SYMBOLS];
};

// What a code says: its length, 0 for none, and its symbol.
struct Code {
  int length, symbol;
  int size() const { return symbol & 15; }
  int zeros() const { return symbol >> 4; }
};

class Table {
 public:
  // False for a specification of more codes than there are. `largest` below ANY: symbols are sizes, at most so large.
  bool read(const uint8_t* specification, int largest) {
    symbols_ = specification + COUNTS;
    largest_ = largest;
    uint32_t start = 0, place = 0;
    memset(near_, 0, sizeof near_);
    for (int length = 1; length <= COUNTS; length++) {
      const uint32_t width = 1u << (COUNTS - length), count = specification[length - 1];
      starts_[length] = start;
      firsts_[length] = place;
      if (place + count > MOST_SYMBOLS || start + count * width > 1u << COUNTS) return false;
      for (uint32_t i = 0; i < count && length <= NEAR; i++)
        if (fits(symbols_[place + i]))
          std::fill_n(near_ + ((start + i * width) >> (COUNTS - NEAR)), width >> (COUNTS - NEAR),
                      uint16_t(length | symbols_[place + i] << 5));
      start += count * width;
      place += count;
      ends_[length] = start;
    }
    return true;
  }

  // The code that 16 bits begin with.
  Code at(uint32_t window) const {
    const int entry = near_[window >> (COUNTS - NEAR)];
    return entry ? Code{entry & 31, entry >> 5} : search(window);
  }

 private:
  static constexpr int NEAR = 10;  // bits of a look-up that stays in the first cache; most codes are shorter

  bool fits(int symbol) const { return largest_ == ANY || symbol <= largest_; }

  Code search(uint32_t window) const {
    for (int length = 1; length <= COUNTS; length++)
      if (window < ends_[length]) {
        const int symbol = symbols_[firsts_[length] + ((window - starts_[length]) >> (COUNTS - length))];
        return fits(symbol) ? Code{length, symbol} : Code{0, 0};
      }
    return {0, 0};
  }

  const uint8_t* symbols_;
  int largest_;
  uint32_t starts_[COUNTS + 1], ends_[COUNTS + 1], firsts_[COUNTS + 1];
  uint16_t near_[1 << NEAR];
};

struct Segment {
  const uint8_t* data;
  int64_t size;

  // The bits from a place on, 57 at least, at the top.
  uint64_t bits(int64_t place) const {
    const int64_t byte = place >> 3;
    uint64_t word = 0;
    if (byte + 8 <= size) {
      const uint8_t* p = data + byte;
      word = uint64_t(p[0]) << 56 | uint64_t(p[1]) << 48 | uint64_t(p[2]) << 40 | uint64_t(p[3]) << 32 |
             uint64_t(p[4]) << 24 | uint64_t(p[5]) << 16 | uint64_t(p[6]) << 8 | uint64_t(p[7]);
    } else {
      for (int64_t i = byte; i < byte + 8; i++) word = word << 8 | (i < size ? data[i] : 0);
    }
    return word << (place & 7);
  }

  int64_t limit() const { return size * 8; }

  bool has_hole() const {
    for (int64_t i = HOLE_BYTES - 1; i < size; i += HOLE_BYTES) {  // one of these is in every hole
      if (data[i]) continue;
      int64_t start = i, end = i + 1;
      while (start > 0 && i - start < HOLE_BYTES && !data[start - 1]) start--;
      while (end < size && end - start < HOLE_BYTES && !data[end]) end++;
      if (end - start >= HOLE_BYTES) return true;
    }
    return false;
  }
};

uint32_t window(uint64_t bits) { return uint32_t(bits >> 48); }
bool ends_block(Code code) { return code.length && !code.symbol; }
bool ends_blocks(Code code) { return !code.size() && code.zeros() < 15; }

struct Walk {
  const Scan& scan;
  const Table *mean_tables, *tables;  // of each component
  Segment segment;
  int64_t place = 0;

  bool over() const { return place > segment.limit(); }

  Verdict mean(const Table& table, int32_t* found) {
    const uint64_t bits = segment.bits(place);
    const Code code = table.at(window(bits));
    if (!code.length) return NO_CODE;
    const int size = code.symbol;
    *found = int32_t(size ? (bits << code.length) >> (64 - size) : 0) << 4 | size;
    place += code.length + size;
    return WHOLE;
  }

  Verdict others(const Table& table) {
    int count = 1;
    while (count < 64 && !over()) {
      const Code code = table.at(window(segment.bits(place)));
      if (!code.length) return NO_CODE;
      place += code.length;
      if (ends_block(code)) return WHOLE;
      if (ends_blocks(code)) return NO_CODE;
      place += code.size();
      count += code.zeros() + 1;
    }
    return count > 64 ? NO_CODE : WHOLE;
  }

  // Groups of whole blocks, or of their means alone.
  Verdict groups(int64_t units, int32_t* means) {
    for (int64_t unit = 0; unit < units; unit++)
      for (int component = 0; component < scan.components; component++)
        for (int block = 0; block < scan.blocks[component]; block++) {
          Verdict verdict = mean(mean_tables[component], means++);
          if (!verdict && scan.way == BLOCKS) verdict = others(tables[component]);
          if (verdict || over()) return verdict;
        }
    return WHOLE;
  }

  // The number of blocks, from the present one on, that have nothing more.
  int64_t run_of_blocks(int size) {
    if (over()) return 1;
    const int64_t more = size ? int64_t(segment.bits(place) >> (64 - size)) : 0;
    place += size;
    return (int64_t(1) << size) + more;
  }

  Verdict band(int64_t block, int64_t stop) {
    const int end = scan.last + 1;
    while (block < stop && !over()) {
      int count = scan.first;
      uint64_t found = 0;
      int64_t run = 1;
      while (count < end && !over()) {
        const Code code = tables->at(window(segment.bits(place)));
        if (!code.length) return NO_CODE;
        place += code.length;
        if (ends_blocks(code)) {
          run = run_of_blocks(code.zeros());
          break;
        }
        count += code.zeros();
        if (code.size() && count < end) found |= uint64_t(1) << count;
        place += code.size();
        count++;
      }
      if (count > end) return NO_CODE;
      scan.known[block] |= found;
      block += run;
    }
    return block > stop ? LONG_RUN : WHOLE;
  }

  Verdict refinement(int64_t block, int64_t stop) {
    const int end = scan.last + 1;
    int64_t run = 0;
    for (; block < stop; block++) {
      const uint64_t history = scan.known[block] & ~uint64_t(0) >> (64 - end);
      int count = scan.first;
      while (!run && count < end) {
        if (over()) return WHOLE;
        const Code code = tables->at(window(segment.bits(place)));
        if (!code.length) return NO_CODE;
        place += code.length;
        if (ends_blocks(code)) {
          run = run_of_blocks(code.zeros());
          break;
        }
        place += code.size();
        for (int zeros = code.zeros(); count < end; count++) {
          if (history >> count & 1) place++;
          else if (!zeros--) break;
        }
        if (code.size() > 1 || (code.size() && count == end)) return NO_CODE;
        if (code.size()) scan.known[block] |= uint64_t(1) << count;
        count++;
      }
      if (run) {
        place += int64_t(std::bitset<64>(history >> count).count());
        run--;
      }
      if (over()) return WHOLE;
    }
    return run ? LONG_RUN : WHOLE;
  }
};

bool is_sound(const Scan& scan) {
  if (scan.way < BLOCKS || scan.way > REFINEMENT || scan.components < 1 || scan.components > COMPONENTS) return false;
  if (scan.first < 0 || scan.first > scan.last || scan.last > 63) return false;
  for (int i = 0; i < scan.components; i++) if (scan.blocks[i] < 1 || scan.blocks[i] > MOST_BLOCKS) return false;
  if (scan.units < 1 || scan.units_each < 1 || (scan.way <= MEANS ? !scan.means : !scan.known)) return false;
  return scan.segments == (scan.units - 1) / scan.units_each + 1;
}

Verdict walk_segments(const Scan& scan, const Table* mean_tables, const Table* tables, int64_t* spare) {
  int64_t blocks = 0;
  for (int i = 0; i < scan.components; i++) blocks += scan.blocks[i];
  bool holes = false;  // whether zeros are codes of coefficients
  for (int i = 0; i < scan.components && scan.way == BLOCKS; i++) holes |= !ends_block(tables[i].at(0));
  const uint8_t* data = scan.data;
  for (int64_t index = 0; index < scan.segments; data += scan.lengths[index++]) {
    const int64_t start = index * scan.units_each, stop = std::min(start + scan.units_each, scan.units);
    Walk walk{scan, mean_tables, tables, {data, scan.lengths[index]}};
    if (holes && walk.segment.has_hole()) return HOLE;
    const Verdict verdict = scan.way == BAND         ? walk.band(start, stop)
                            : scan.way == REFINEMENT ? walk.refinement(start, stop)
                                                     : walk.groups(stop - start, scan.means + start * blocks);
    if (verdict) return verdict;
    *spare = walk.segment.limit() - walk.place;
    if (*spare < 0) return EARLY;
    if (*spare >= 8) return LEFT;
  }
  return WHOLE;
}

}  // namespace

EXPORTED int32_t efq_scan_size() { return int32_t(sizeof(Scan)); }

// The verdict on a scan; `spare`: the bits that are left of the segment it is about.
EXPORTED int32_t efq_walk_scan(const Scan* scan, int64_t* spare) {
  *spare = 0;
  if (!is_sound(*scan)) return UNSOUND;
  Table mean_tables[COMPONENTS], tables[COMPONENTS];
  for (int i = 0; i < scan->components; i++) {
    if (scan->way <= MEANS && !mean_tables[i].read(scan->mean_codes[i], LARGEST_MEAN)) return UNSOUND;
    if (scan->way != MEANS && !tables[i].read(scan->codes[i], ANY)) return UNSOUND;
  }
  return walk_segments(*scan, mean_tables, tables, spare);
}
