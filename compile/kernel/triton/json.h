// Triton's model configuration, which comes as JSON: enough of a reader for that.
#pragma once
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace millwork {

// One value: an object's or an array's `items` (an array's have no names), a string's or a number's `text`.
struct Json {
  std::vector<std::pair<std::string, Json>> items;
  std::string text;

  // An object's member, or an empty value.
  const Json &operator[](const char *name) const {
    static const Json none;
    for (const auto &[key, value] : items)
      if (key == name) return value;
    return none;
  }
  long number(long otherwise) const {
    char *end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    return text.empty() || *end ? otherwise : value;
  }

  // False where `text` isn't JSON, or is nested more than 64 deep.
  static bool read(const char *begin, const char *end, Json &out) {
    Reader reader{begin, end};
    return reader.value(out, 64) && reader.blank() == end;
  }

 private:
  struct Reader {
    const char *at, *end;

    const char *blank() {
      while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
      return at;
    }
    bool take(char c) {
      if (blank() == end || *at != c) return false;
      at++;
      return true;
    }
    bool value(Json &out, int depth) {
      if (depth == 0 || blank() == end) return false;
      if (*at == '"') return string(out.text);
      if (*at == '{' || *at == '[') return list(out, depth);
      while (at < end && *at != ',' && *at != '}' && *at != ']' && *at != ' ' && *at != '\n') out.text += *at++;
      return !out.text.empty();
    }
    bool list(Json &out, int depth) {
      const bool object = *at++ == '{';
      const char close = object ? '}' : ']';
      if (take(close)) return true;
      do {
        std::pair<std::string, Json> item;
        if (object && !(blank() < end && string(item.first) && take(':'))) return false;
        if (!value(item.second, depth - 1)) return false;
        out.items.push_back(std::move(item));
      } while (take(','));
      return take(close);
    }
    bool string(std::string &out) {
      if (!take('"')) return false;
      for (; at < end && *at != '"'; at++) {
        if (*at != '\\') {
          out += *at;
          continue;
        }
        if (++at == end) return false;
        const char *plain = "\"\\/", *coded = "bfnrt", *means = "\b\f\n\r\t";
        bool known = false;
        for (int i = 0; plain[i]; i++)
          if (*at == plain[i]) out += plain[i], known = true;
        for (int i = 0; coded[i]; i++)
          if (*at == coded[i]) out += means[i], known = true;
        if (known) continue;
        if (*at != 'u' || end - at < 5) return false;  // in names that we look for there is none
        out += '?', at += 4;
      }
      return take('"');
    }
  };
};

}  // namespace millwork
