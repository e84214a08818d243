package loadgen

import _ "github.com/tsenart/vegeta/v12/lib"
