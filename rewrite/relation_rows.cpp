#include "rewrite/relation_rows.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

namespace signalbox::rewrite {
namespace {

constexpr std::uint32_t replacement_character = 0xFFFD;

/// The first character of a text that is not empty; what is not well formed goes byte by byte.
std::uint32_t take_character(std::string_view& text) noexcept {
    const auto byte_at = [&](std::size_t i) -> std::uint32_t {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const auto first = byte_at(0);
    std::size_t size = 1;
    auto code = replacement_character;
    if (first < 0x80) {
        code = first != 0 ? first : replacement_character;
    } else if (first >= 0xC2 && first < 0xF5) {
        const std::size_t wanted = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
        std::uint32_t read = first & (0x7FU >> wanted);
        std::size_t i = 1;
        for (; i < wanted && (byte_at(i) & 0xC0U) == 0x80; ++i) {
            read = (read << 6U) | (byte_at(i) & 0x3FU);
        }
        const std::array<std::uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
        const bool is_surrogate = read >= 0xD800 && read < 0xE000;
        if (i == wanted && read >= least[wanted] && read < 0x110000 && !is_surrogate) {
            size = wanted;
            code = read;
        }
    }
    text.remove_prefix(size);
    return code;
}

void append_escape(std::string& out, std::uint32_t unit) {
    static constexpr std::string_view digits = "0123456789abcdef";
    out += "\\u";
    for (const unsigned shift : {12U, 8U, 4U, 0U}) {
        out += digits[(unit >> shift) & 0xFU];
    }
}

void append_string(std::string& out, std::string_view text) {
    out += '"';
    while (!text.empty()) {
        const auto code = take_character(text);
        if (code == '"' || code == '\\') {
            out += '\\';
            out += static_cast<char>(code);
        } else if (code >= 0x20 && code < 0x7F) {
            out += static_cast<char>(code);
        } else if (code < 0x10000) {
            append_escape(out, code);
        } else {
            append_escape(out, 0xD800U + ((code - 0x10000U) >> 10U));
            append_escape(out, 0xDC00U + ((code - 0x10000U) & 0x3FFU));
        }
    }
    out += '"';
}

/// `{"a","b"}`, as the type's input function reads it: a JSON array would need PostgreSQL 10.
std::string array_text(const std::vector<std::string>& elements) {
    std::string text = "{";
    for (const auto& element : elements) {
        text += text.size() > 1 ? ",\"" : "\"";
        for (const char c : element) {
            if (c == '"' || c == '\\') {
                text += '\\';
            }
            text += c;
        }
        text += '"';
    }
    return text + '}';
}

/// ISO 8601 in UTC, whatever DateStyle and TimeZone are.
std::string time_text(catalog::timestamp at) {
    namespace chr = std::chrono;
    const auto day = chr::floor<chr::days>(at);
    const chr::year_month_day date{day};
    const chr::hh_mm_ss time{at - day};
    std::array<char, 64> text{};
    const int size = std::snprintf(
        text.data(),
        text.size(),
        "%04d-%02u-%02uT%02d:%02d:%02d.%06dZ",
        static_cast<int>(date.year()),
        static_cast<unsigned>(date.month()),
        static_cast<unsigned>(date.day()),
        static_cast<int>(time.hours().count()),
        static_cast<int>(time.minutes().count()),
        static_cast<int>(time.seconds().count()),
        static_cast<int>(time.subseconds().count())
    );
    return {text.data(), static_cast<std::size_t>(size)};
}

struct value_writer {
    std::string& out;

    void operator()(std::monostate) const { out += "null"; }

    void operator()(const std::string& text) const { append_string(out, text); }

    void operator()(std::int64_t number) const { out += std::to_string(number); }

    void operator()(catalog::timestamp at) const { append_string(out, time_text(at)); }

    void operator()(const std::vector<std::string>& elements) const {
        append_string(out, array_text(elements));
    }
};

}  // namespace

std::string rows_json(const relation& of, std::span<const relation_row> rows) {
    std::string out = "[";
    for (const auto& row : rows) {
        out += out.size() > 1 ? ",{" : "{";
        bool is_first = true;
        for (std::size_t i = 0; i < std::min(row.size(), of.columns.size()); ++i) {
            if (std::holds_alternative<std::monostate>(row[i])) {
                continue;
            }
            if (!is_first) {
                out += ',';
            }
            is_first = false;
            append_string(out, of.columns[i].name);
            out += ':';
            std::visit(value_writer{out}, row[i]);
        }
        out += '}';
    }
    return out + ']';
}

}  // namespace signalbox::rewrite
