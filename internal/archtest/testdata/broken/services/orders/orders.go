package orders

import (
	_ "github.com/faultline-lab/faultline/chaos"
	_ "github.com/faultline-lab/faultline/internal/plan"
	_ "github.com/faultline-lab/faultline/services/kit"
	_ "github.com/faultline-lab/faultline/services/orders/inner"
	_ "github.com/faultline-lab/faultline/services/payments"
)
