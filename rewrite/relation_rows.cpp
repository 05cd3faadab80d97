#include "rewrite/relation_rows.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

namespace signalbox::rewrite {

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

namespace {

/// Three characters that stand in no value: what stands between the columns, behind each value, and
/// for NULL.
struct separators {
    char column = '\x1d';
    char value = '\x1f';
    char null = '\x1e';
    bool are_in_values = false;  // there are no three that are in none
};

class value_writer {
public:
    value_writer(std::string& out, const separators& by) : out_(out), by_(by) {}

    void operator()(std::monostate) const { out_ += by_.null; }

    void operator()(const std::string& text) const {
        std::string_view rest = text;
        while (!rest.empty()) {
            const auto* const plain =
                std::find_if(rest.begin(), rest.end(), [this](char c) { return !is_plain(c); });
            out_.append(rest.begin(), plain);
            rest.remove_prefix(static_cast<std::size_t>(plain - rest.begin()));
            if (rest.empty()) {
                return;
            }
            const auto whole = rest;
            const auto code = take_character(rest);
            if (code == replacement_character || code < 0x80) {
                out_ += "\xef\xbf\xbd";  // U+FFFD
            } else {
                out_ += whole.substr(0, whole.size() - rest.size());
            }
        }
    }

    void operator()(std::int64_t number) const { out_ += std::to_string(number); }

    void operator()(catalog::timestamp at) const;
    void operator()(const std::vector<std::string>& elements) const;

private:
    /// Of ASCII, and to be copied as it is.
    [[nodiscard]] bool is_plain(char c) const noexcept {
        if (static_cast<signed char>(c) <= 0) {
            return false;
        }
        return !by_.are_in_values || (c != by_.column && c != by_.value && c != by_.null);
    }

    std::string& out_;
    const separators& by_;
};

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

void value_writer::operator()(catalog::timestamp at) const {
    out_ += time_text(at);
}

void value_writer::operator()(const std::vector<std::string>& elements) const {
    (*this)(array_text(elements));
}

class used_characters {
public:
    void note(const relation_value& value) noexcept {
        if (const auto* const text = std::get_if<std::string>(&value)) {
            note_text(*text);
        } else if (const auto* const many = std::get_if<std::vector<std::string>>(&value)) {
            for (const auto& each : *many) {
                note_text(each);
            }
        }
    }

    /// The last control characters first: those are meant for it.
    [[nodiscard]] separators find_unused() const noexcept {
        std::array<char, 3> found{};
        std::size_t count = 0;
        for (auto c = used_.size() - 1; c > 0 && count < found.size(); --c) {
            if (!used_[c]) {
                found[count++] = static_cast<char>(c);
            }
        }
        if (count < found.size()) {
            separators none;
            none.are_in_values = true;
            return none;
        }
        return {.column = found[2], .value = found[0], .null = found[1]};
    }

private:
    void note_text(std::string_view text) noexcept {
        for (const char c : text) {
            if (static_cast<unsigned char>(c) < used_.size()) {
                used_[static_cast<unsigned char>(c)] = true;
            }
        }
    }

    std::array<bool, 0x20> used_{};
};

}  // namespace

std::string rows_text(const relation& of, std::span<const relation_row> rows) {
    used_characters used;
    for (const auto& row : rows) {
        for (const auto& value : row) {
            used.note(value);
        }
    }
    const auto by = used.find_unused();
    std::string out;
    for (const auto& part : {std::string{}, std::string{by.value}, std::string{by.null}}) {
        out += part + by.column;
    }
    out += std::to_string(rows.size());
    const relation_value null;
    for (std::size_t i = 0; i < of.columns.size(); ++i) {
        out += by.column;
        for (const auto& row : rows) {
            std::visit(value_writer{out, by}, i < row.size() ? row[i] : null);
            out += by.value;
        }
    }
    return out;
}

}  // namespace signalbox::rewrite
