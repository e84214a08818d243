package inner

import _ "github.com/grafana/pyroscope-go"
