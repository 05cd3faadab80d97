// Boost.JSON's own code, compiled here once: Debian's headers come without needing its library.
#include <boost/json/src.hpp>
