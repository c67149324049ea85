// What every part needs: errors, dtypes, JSON, and lengths such as "2*batch". Included by funcnet.cpp alone.
//
// What fails throws a Failure, with a sentence; guarded() makes a code of it, so that nothing is thrown across C.
#ifndef FUNCNET_BASICS_HPP_
#define FUNCNET_BASICS_HPP_

#include <cctype>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "funcnet.h"

namespace {

using Bytes = std::string_view;
using Shape = std::vector<int64_t>;
using Sizes = std::map<std::string, int64_t>;  // of symbols
using std::string;

// ---- errors

struct Failure {
  fn_code code;
  string sentence;
};

thread_local char last_error[4096] = "";

[[noreturn]] void fail(fn_code code, const char* format, ...) __attribute__((format(printf, 2, 3)));
[[noreturn]] void fail(fn_code code, const char* format, ...) {
  char sentence[sizeof last_error];
  va_list values;
  va_start(values, format);
  std::vsnprintf(sentence, sizeof sentence, format, values);
  va_end(values);
  throw Failure{code, sentence};
}

fn_code noted(fn_code code, const char* sentence) {
  std::snprintf(last_error, sizeof last_error, "%s", sentence);
  for (char* at = last_error; *at;) {  // it may quote names of a hostile file: what is no UTF-8 text becomes "?"
    auto first = static_cast<unsigned char>(*at);
    int more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3, k = 1;
    bool fine = first < 0x80 ? first >= ' ' && first != 0x7f : first >= 0xc2 && first < 0xf5;
    for (; fine && k <= more; ++k) fine = (at[k] & 0xc0) == 0x80;
    if (!fine) *at = *at == '\n' ? ' ' : '?';
    at += fine ? more + 1 : 1;
  }
  return code;
}

template <class Work>
fn_code guarded(Work work) noexcept {
  try {
    work();
    return FN_OK;
  } catch (const Failure& failure) {
    return noted(failure.code, failure.sentence.c_str());
  } catch (const std::bad_alloc&) {
    return noted(FN_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return noted(FN_EXECUTE, error.what());
  } catch (...) {
    return noted(FN_EXECUTE, "an unknown error");
  }
}

void given(bool holds, const char* what) {
  if (!holds) fail(FN_ARGUMENT, "%s is NULL", what);
}

// ---- dtypes

struct Dtype {
  const char* name;
  size_t bytes;
};

const Dtype DTYPES[] = {// in the order of fn_dtype
                        {"INVALID", 0}, {"BOOL", 1},        {"I8", 1},          {"I16", 2},     {"I32", 4},
                        {"I64", 8},     {"U8", 1},          {"U16", 2},         {"U32", 4},     {"U64", 8},
                        {"F16", 2},     {"BF16", 2},        {"F32", 4},         {"F64", 8},     {"F8_E4M3", 1},
                        {"F8_E5M2", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1}, {"F8_E8M0", 1}, {"C64", 8}};

const Dtype& dtype_of(int code) { return DTYPES[code > 0 && code <= FN_C64 ? code : 0]; }

fn_dtype dtype_named(const string& name) {
  for (int code = FN_BOOL; code <= FN_C64; ++code)
    if (name == DTYPES[code].name) return static_cast<fn_dtype>(code);
  fail(FN_FORMAT, "the artifact has an array of dtype '%.40s', which this program does not know", name.c_str());
}

[[noreturn]] void too_large() { fail(FN_FORMAT, "a length in the artifact is larger than any array"); }

int64_t sum(int64_t a, int64_t b) {
  int64_t made = 0;
  if (__builtin_add_overflow(a, b, &made)) too_large();
  return made;
}

int64_t product(int64_t a, int64_t b) {
  int64_t made = 0;
  if (__builtin_mul_overflow(a, b, &made)) too_large();
  return made;
}

size_t bytes_of(fn_dtype dtype, const Shape& shape) {
  int64_t bytes = static_cast<int64_t>(dtype_of(dtype).bytes);
  bool empty = false;
  for (int64_t length : shape) {
    if (length < 0) too_large();
    empty = empty || length == 0;
    bytes = product(bytes, length ? length : 1);  // an axis of length 0 does not hide others that are too long
  }
  return empty ? 0 : static_cast<size_t>(bytes);
}

string spelled(fn_dtype dtype, const std::vector<string>& lengths) {
  string text = string(dtype_of(dtype).name) + "[";
  for (const string& length : lengths) text += (text.back() == '[' ? "" : ", ") + length;
  return text + "]";
}
string spelled(fn_dtype dtype, const Shape& shape) {
  std::vector<string> lengths;
  for (int64_t length : shape) lengths.push_back(std::to_string(length));
  return spelled(dtype, lengths);
}

// ---- JSON

struct Json {
  char kind = 'n';                              // n(ull) b(oolean) 0 (a number) " [ {
  string text;                                  // of a string, a number or a boolean
  std::vector<std::pair<string, Json>> fields;  // of an object in order; of a list with empty keys

  const Json* find(Bytes key) const {
    for (const auto& field : fields)
      if (kind == '{' && field.first == key) return &field.second;
    return nullptr;
  }
  const Json& at(Bytes key, char wanted) const {
    const Json* found = find(key);
    if (!found || found->kind != wanted)
      fail(FN_FORMAT, "the artifact's JSON lacks '%s', or it is of another kind", string(key).c_str());
    return *found;
  }
  int64_t number() const {
    char* end = nullptr;
    errno = 0;
    int64_t value = std::strtoll(text.c_str(), &end, 10);
    if (kind != '0' || *end || errno)
      fail(FN_FORMAT, "the artifact's JSON has '%.40s' for a whole number", text.c_str());
    return value;
  }
  bool is(Bytes word) const { return kind == 'b' && text == word; }
};

struct JsonReader {
  Bytes rest;
  int depth = 0;
  size_t values = 0;

  [[noreturn]] void wrong() const {
    fail(FN_FORMAT, "the artifact's JSON is broken %zu bytes before its end", rest.size());
  }
  char look() {
    size_t blank = rest.find_first_not_of(" \t\r\n");
    if (blank == Bytes::npos) wrong();
    rest.remove_prefix(blank);
    return rest[0];
  }
  bool took(char mark) { return look() == mark && (rest.remove_prefix(1), true); }
  void take(Bytes word) {
    if (rest.substr(0, word.size()) != word) wrong();
    rest.remove_prefix(word.size());
  }
  unsigned hexadecimal() {
    if (rest.size() < 4 || rest.substr(0, 4).find_first_not_of("0123456789abcdefABCDEF") != Bytes::npos) wrong();
    unsigned code = static_cast<unsigned>(std::stoul(string(rest.substr(0, 4)), nullptr, 16));
    rest.remove_prefix(4);
    return code;
  }
  void escape(string& text) {
    static const char marks[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (rest.empty()) wrong();
    char mark = rest[0];
    rest.remove_prefix(1);
    if (mark != 'u') {
      const char* found = mark ? std::strchr(marks, mark) : nullptr;
      if (!found) wrong();
      text += meant[found - marks];
      return;
    }
    unsigned code = hexadecimal();
    if (code >= 0xd800 && code < 0xdc00) {  // the first half of a pair
      take("\\u");
      unsigned low = hexadecimal();
      if (low < 0xdc00 || low > 0xdfff) wrong();
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    if (code == 0 || (code >= 0xdc00 && code < 0xe000)) wrong();  // a zero would end a C string early
    int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned first[] = {0, 0xc0, 0xe0, 0xf0};
    text += static_cast<char>(first[more] | code >> 6 * more);
    while (more--) text += static_cast<char>(0x80 | (code >> 6 * more & 0x3f));
  }
  string words() {
    string text;
    for (take("\"");;) {
      if (rest.empty() || static_cast<unsigned char>(rest[0]) < 0x20) wrong();
      char mark = rest[0];
      rest.remove_prefix(1);
      if (mark == '"') return text;
      if (mark == '\\')
        escape(text);
      else
        text += mark;
    }
  }
  Json value() {
    if (++depth > 100 || ++values > 4'000'000) wrong();
    Json made;
    char mark = look();
    if (mark == '{' || mark == '[') {
      made.kind = mark;
      std::set<string> keys;
      char end = mark == '{' ? '}' : ']';
      rest.remove_prefix(1);
      for (bool more = !took(end); more; more = took(',') || (took(end) ? false : (wrong(), false))) {
        string key;
        if (mark == '{') {
          look();
          key = words();
          if (!took(':') || !keys.insert(key).second) wrong();
        }
        made.fields.emplace_back(std::move(key), value());
      }
    } else if (mark == '"') {
      made.kind = '"';
      made.text = words();
    } else if (mark == 't' || mark == 'f' || mark == 'n') {
      made.kind = mark == 'n' ? 'n' : 'b';
      take(made.text = mark == 't' ? "true" : mark == 'f' ? "false" : "null");
    } else {
      made.kind = '0';
      made.text = rest.substr(0, rest.find_first_not_of("+-.0123456789eE"));
      if (made.text.empty()) wrong();
      rest.remove_prefix(made.text.size());
    }
    --depth;
    return made;
  }
};

Json read_json(Bytes text) {
  if (text.size() > 32 << 20) fail(FN_FORMAT, "the artifact has %zu bytes of JSON: no model has as many", text.size());
  JsonReader reader{text};
  Json made = reader.value();
  if (reader.rest.find_first_not_of(" \t\r\n") != Bytes::npos || made.kind != '{') reader.wrong();
  return made;
}

// ---- lengths: what "2*batch + 1" is for a given batch

struct Length {
  Bytes rest;
  const Sizes& sizes;
  int depth = 0;

  bool took(Bytes mark) {
    while (!rest.empty() && rest[0] == ' ') rest.remove_prefix(1);
    return rest.substr(0, mark.size()) == mark && (rest.remove_prefix(mark.size()), true);
  }
  void need(bool holds) const {
    if (!holds)
      fail(FN_FORMAT, "the artifact has a length that this program cannot read, near '%.40s'", string(rest).c_str());
  }
  int64_t terms() {
    need(++depth < 50);
    int64_t value = factors();
    for (;;) {
      if (took("+")) {
        value = sum(value, factors());
      } else if (took("-")) {
        value = sum(value, product(-1, factors()));
      } else {
        --depth;
        return value;
      }
    }
  }
  int64_t factors() {
    int64_t value = power();
    while (took("*")) value = product(value, power());
    return value;
  }
  int64_t power() {
    if (took("-")) return product(-1, power());
    int64_t base = atom(), value = 1;
    if (!took("^")) return base;
    int64_t times = atom();
    need(times >= 0 && times < 64);
    while (times--) value = product(value, base);
    return value;
  }
  int64_t atom() {
    if (took("(")) {
      int64_t value = terms();
      need(took(")"));
      return value;
    }
    size_t size = 0;
    while (size < rest.size() && (std::isalnum(static_cast<unsigned char>(rest[size])) || rest[size] == '_')) ++size;
    string word(rest.substr(0, size));
    need(size > 0 && size < 200);
    rest.remove_prefix(size);
    if (word.find_first_not_of("0123456789") == string::npos) return need(size < 19), std::stoll(word);
    if (!took("(")) {
      auto found = sizes.find(word);
      if (found == sizes.end()) fail(FN_FORMAT, "the artifact has a program without a size for '%s'", word.c_str());
      return found->second;
    }
    int64_t a = terms();
    need(took(","));
    int64_t b = terms();
    need(took(")"));
    if (word == "max") return std::max(a, b);
    if (word == "min") return std::min(a, b);
    need((word == "floordiv" || word == "mod") && b > 0);
    int64_t down = a / b - (a % b < 0);
    return word == "mod" ? a - down * b : down;
  }
};

int64_t length_of(const string& text, const Sizes& sizes) {
  Length length{text, sizes};
  int64_t value = length.terms();
  length.need(length.took("") && length.rest.empty() && value >= 0);
  return value;
}

}  // namespace

#endif  // FUNCNET_BASICS_HPP_
