package orders

import (
	_ "github.com/faultline-lab/faultline/loadgen" // a test may
	_ "github.com/failsafe-go/failsafe-go/retrypolicy"
)
