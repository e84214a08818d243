package nested

import _ "github.com/tsenart/vegeta/v12/lib" // in another module
