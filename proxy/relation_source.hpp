// The relations that Signalbox provides: where their rows come from, and a client's text of which
// they have become row sources.
#pragma once

#include "proxy/commands.hpp"
#include "rewrite/relation_rewrite.hpp"
#include "rewrite/relation_rows.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::proxy {

/// Any thread.
class relation_source {
public:
    virtual ~relation_source() = default;

    [[nodiscard]] virtual const rewrite::schema_names& schemas() const = 0;
    /// Why this client may not read it.
    [[nodiscard]] virtual std::optional<wire::report> refusal(
        const rewrite::relation& of, const client_identity& who
    ) const = 0;
    /// All rows at this moment.
    [[nodiscard]] virtual rewrite::relation_text rows(const rewrite::relation& of) const = 0;
};

/// A text as it was sent. Positions are in characters from 1, as the server counts them.
class sent_text {
public:
    explicit sent_text(rewrite::character_size size) : size_(size) {}

    /// A statement as it was.
    void add(std::string_view statement) {
        const auto length = count(statement);
        sql_ += statement;
        sent_ += length;
        original_ += length;
    }

    /// A statement with replacements.
    void add(std::string_view statement, rewrite::rendered_statement rendered) {
        sql_ += rendered.sql();
        pieces_.push_back({sent_, original_, count(rendered.sql()), std::move(rendered)});
        sent_ += pieces_.back().length;
        original_ += count(statement);
    }

    [[nodiscard]] const std::string& sql() const noexcept { return sql_; }

    [[nodiscard]] bool is_changed() const noexcept { return !pieces_.empty(); }

    /// Where in the client's text an error belongs whose position in sql() this is.
    [[nodiscard]] std::size_t original_position(std::size_t position) const noexcept {
        std::size_t shift = 0;  // of what stands behind the last replacement
        for (const auto& each : pieces_) {
            if (position <= each.sent_before) {
                break;
            }
            if (position <= each.sent_before + each.length) {
                return each.original_before +
                       each.rendered.original_position(position - each.sent_before, size_);
            }
            shift = each.sent_before + each.length -
                    (each.original_before +
                     each.rendered.original_position(each.length + 1, size_) - 1);
        }
        return position - shift;
    }

    /// Of the extended protocol: the number of the parameter that carries the rows; 0 = none.
    std::size_t parameter = 0;
    rewrite::relation_rewrite plan;  // of the one statement that has the parameter

private:
    struct piece {
        std::size_t sent_before = 0;  // characters
        std::size_t original_before = 0;
        std::size_t length = 0;
        rewrite::rendered_statement rendered;
    };

    [[nodiscard]] std::size_t count(std::string_view text) const noexcept {
        if (size_ == rewrite::character_size::one_byte) {
            return text.size();
        }
        std::size_t found = 0;
        for (const char c : text) {
            found += (static_cast<unsigned char>(c) & 0xc0U) != 0x80U ? 1 : 0;
        }
        return found;
    }

    rewrite::character_size size_;
    std::string sql_;
    std::vector<piece> pieces_;
    std::size_t sent_ = 0;
    std::size_t original_ = 0;
};

using sent_text_ptr = std::shared_ptr<const sent_text>;

}  // namespace signalbox::proxy
