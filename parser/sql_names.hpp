// Names of prepared statements in SQL: PREPARE makes one, EXECUTE uses it, DEALLOCATE ends it.
#pragma once

#include "parser/lexer.hpp"
#include "parser/statements.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace signalbox::parser {

struct found_name {
    name_use use = name_use::executes;
    std::string name;       // as PostgreSQL folds it
    std::string_view body;  // of PREPARE: the statement behind AS; points into the text
};

/// Of one statement; EXPLAIN EXECUTE and CREATE TABLE AS EXECUTE use one, too. DEALLOCATE ALL names
/// none. One pass over the text of EXPLAIN, CREATE and PREPARE, else a few tokens; no parse.
std::optional<found_name> find_sql_name(std::string_view statement, backslashes strings);

/// False: no statement of the text names a prepared statement. Linear, no allocation.
bool may_use_sql_names(std::string_view sql) noexcept;

}  // namespace signalbox::parser
