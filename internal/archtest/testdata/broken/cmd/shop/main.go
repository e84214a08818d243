package main

import (
	_ "github.com/faultline-lab/faultline/loadgen"
	_ "github.com/faultline-lab/faultline/services/orders"
)
