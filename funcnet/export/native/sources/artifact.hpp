// Reading an artifact: its zip, hashes, weights and descriptions of arrays. Included by funcnet.cpp alone.
//
// A file is believed in nothing: each offset is checked before it is followed, and all bytes that are used have the
// checksum that the file says.
#ifndef FUNCNET_ARTIFACT_HPP_
#define FUNCNET_ARTIFACT_HPP_

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "basics.hpp"

namespace {

// ---- SHA-256 (FIPS 180-4)

string sha256(Bytes data) {
  static const uint32_t K[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  auto turn = [](uint32_t x, int n) { return (x >> n) | (x << (32 - n)); };
  auto block = [&](const unsigned char* p) {
    uint32_t w[64];
    for (int i = 0; i < 16; ++i, p += 4) w[i] = uint32_t(p[0]) << 24 | p[1] << 16 | p[2] << 8 | p[3];
    for (int i = 16; i < 64; ++i)
      w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) +
             (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    auto [a, b, c, d, e, f, g, h] = state;
    for (int i = 0; i < 64; ++i) {
      uint32_t one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
      uint32_t two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + one, d = c, c = b, b = a, a = one + two;
    }
    const uint32_t added[] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state[i] += added[i];
  };
  const auto* start = reinterpret_cast<const unsigned char*>(data.data());
  size_t whole = data.size() / 64 * 64;
  for (size_t at = 0; at < whole; at += 64) block(start + at);
  string end(data.substr(whole));
  end += '\x80';
  end.resize(end.size() <= 56 ? 56 : 120);
  for (int shift = 56; shift >= 0; shift -= 8) end += static_cast<char>(uint64_t(data.size()) * 8 >> shift);
  for (size_t at = 0; at < end.size(); at += 64) block(reinterpret_cast<const unsigned char*>(end.data()) + at);
  char text[65];
  for (int i = 0; i < 8; ++i) std::snprintf(text + 8 * i, 9, "%08x", state[i]);
  return text;
}

uint32_t crc32(Bytes data) {
  uint32_t crc = ~0u;
  for (unsigned char byte : data) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

// ---- files: zip members as they lie on the disk

struct Mapped {
  Bytes bytes;
  explicit Mapped(const char* path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about{};
    bool readable = file >= 0 && fstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0;
    size_t size = readable ? static_cast<size_t>(about.st_size) : 0;
    void* start = readable ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
    string reason = std::strerror(errno);
    if (file >= 0) close(file);
    if (file >= 0 && !readable) fail(FN_FILE, "it is empty, or a folder");
    if (start == MAP_FAILED) fail(FN_FILE, "it cannot be read: %s", reason.c_str());
    bytes = Bytes(static_cast<char*>(start), size);
  }
  Mapped(const Mapped&) = delete;
  ~Mapped() { munmap(const_cast<char*>(bytes.data()), bytes.size()); }
};

struct Zip {
  Bytes file;
  std::map<string, Bytes> members;

  [[noreturn]] static void wrong(const char* what) {
    fail(FN_FORMAT, "it is no artifact of funcnet, or is damaged: %s", what);
  }
  Bytes part(uint64_t start, uint64_t size) const {
    if (start > file.size() || size > file.size() - start) wrong("a part lies beyond its end");
    return file.substr(start, size);
  }
  template <class Number>
  static uint64_t number(Bytes record, size_t at) {  // little-endian, as are all hosts of PJRT
    if (at + sizeof(Number) > record.size()) wrong("a record is cut short");
    Number value;
    std::memcpy(&value, record.data() + at, sizeof value);
    return value;
  }
  static uint64_t u16(Bytes record, size_t at) { return number<uint16_t>(record, at); }
  static uint64_t u32(Bytes record, size_t at) { return number<uint32_t>(record, at); }
  static uint64_t u64(Bytes record, size_t at) { return number<uint64_t>(record, at); }

  explicit Zip(Bytes bytes) : file(bytes) {
    size_t tail = file.size() < 65557 ? 0 : file.size() - 65557;  // a comment has 65535 bytes at most
    size_t end = file.substr(tail).rfind("PK\5\6");
    if (end == Bytes::npos) wrong("it has no list of members at its end");
    Bytes record = part(tail + end, 22);
    uint64_t count = u16(record, 10), size = u32(record, 12), start = u32(record, 16);
    if (count == 0xffff || size == 0xffffffff || start == 0xffffffff) {  // zip64
      if (tail + end < 20) wrong("its list of members cannot be found");
      Bytes locator = part(tail + end - 20, 20);
      Bytes large = part(u64(locator, 8), 56);
      if (locator.substr(0, 4) != "PK\6\7" || large.substr(0, 4) != "PK\6\6")
        wrong("its list of members cannot be found");
      count = u64(large, 32), size = u64(large, 40), start = u64(large, 48);
    }
    Bytes list = part(start, size);
    for (; count > 0; --count) list.remove_prefix(add(list));
  }

  size_t add(Bytes entry) {  // returns the length of the entry
    if (entry.substr(0, 4) != "PK\1\2") wrong("its list of members is broken");
    uint64_t packed = u32(entry, 20), size = u32(entry, 24), at = u32(entry, 42);
    size_t name_size = u16(entry, 28), extra_size = u16(entry, 30),
           length = 46 + name_size + extra_size + u16(entry, 32);
    if (length > entry.size()) wrong("its list of members is cut short");
    string name(entry.substr(46, name_size));
    Bytes extra = entry.substr(46 + name_size, extra_size);
    for (; !extra.empty(); extra.remove_prefix(std::min<size_t>(extra.size(), 4 + u16(extra, 2)))) {
      if (u16(extra, 0) != 1) continue;  // zip64: what did not fit into 32 bits, in this order
      size_t next = 4;
      for (uint64_t* value : {&size, &packed, &at})
        if (*value == 0xffffffff) *value = u64(extra, next), next += 8;
    }
    if (u16(entry, 8) & 1 || u16(entry, 10) != 0 || packed != size) wrong("a member is compressed or encrypted");
    Bytes header = part(at, 30);
    if (header.substr(0, 4) != "PK\3\4" || part(at + 30, u16(header, 26)) != name)
      wrong("a member is not where the list says");
    Bytes data = part(at + 30 + name_size + u16(header, 28), size);
    if (name == "manifest.json" && crc32(data) != u32(entry, 16)) wrong("manifest.json does not have its checksum");
    if (!members.emplace(name, data).second) wrong("two members have one name");
    return length;
  }
  Bytes at(const string& name) const {
    auto found = members.find(name);
    if (found == members.end()) fail(FN_FORMAT, "the artifact lacks its member '%.200s'", name.c_str());
    return found->second;
  }
};

Shape whole_numbers(const Json& list) {
  if (list.fields.size() > FN_MOST_AXES)
    fail(FN_FORMAT, "the artifact has an array of more than %d axes", FN_MOST_AXES);
  Shape made;
  for (const auto& item : list.fields) made.push_back(item.second.number());
  return made;
}

struct Weight {
  fn_dtype dtype;
  Shape shape;
  Bytes data;
};

std::map<string, Weight> read_safetensors(Bytes file) {
  uint64_t size = Zip::u64(file, 0);
  if (size > file.size() - 8) Zip::wrong("the header of its weights is longer than they are");
  Bytes data = file.substr(8 + size);
  std::map<string, Weight> made;
  for (const auto& [name, entry] : read_json(file.substr(8, size)).fields) {
    if (name == "__metadata__") continue;
    Weight weight{dtype_named(entry.at("dtype", '"').text), whole_numbers(entry.at("shape", '[')), {}};
    Shape ends = whole_numbers(entry.at("data_offsets", '['));
    size_t bytes = bytes_of(weight.dtype, weight.shape);
    if (ends.size() != 2 || ends[0] < 0 || ends[1] < ends[0] || uint64_t(ends[1]) > data.size() ||
        uint64_t(ends[1] - ends[0]) != bytes)
      fail(FN_FORMAT, "the artifact's weight '%.200s' does not lie where its header says", name.c_str());
    weight.data = data.substr(static_cast<size_t>(ends[0]), bytes);
    made.emplace(name, std::move(weight));
  }
  return made;
}

struct Spec {
  string name, text;
  fn_dtype dtype;
  std::vector<string> lengths;

  explicit Spec(const Json& json) : name(json.at("name", '"').text), dtype(dtype_named(json.at("dtype", '"').text)) {
    for (const auto& [_, length] : json.at("shape", '[').fields) {
      bool number = length.kind == '0' && length.number() >= 0;
      bool open =
          length.kind == '"' && length.text.size() < 500 && length.text.find_first_not_of("0123456789") != string::npos;
      if (!number && !open) fail(FN_FORMAT, "the artifact has an array with a length '%.40s'", length.text.c_str());
      lengths.push_back(number ? std::to_string(length.number()) : length.text);
    }
    if (lengths.size() > FN_MOST_AXES) fail(FN_FORMAT, "the artifact has an array of more than %d axes", FN_MOST_AXES);
    text = spelled(dtype, lengths);
  }
  Shape shape(const Sizes& sizes) const {
    Shape made;
    for (const string& length : lengths) made.push_back(length_of(length, sizes));
    bytes_of(dtype, made);  // refuses what is larger than any array
    return made;
  }
  bool fixed(size_t axis) const { return lengths[axis].find_first_not_of("0123456789") == string::npos; }
};

}  // namespace

#endif  // FUNCNET_ARTIFACT_HPP_
