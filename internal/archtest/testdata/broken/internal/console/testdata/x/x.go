package x

import _ "github.com/prometheus/prometheus/tsdb" // in testdata: nobody builds this
