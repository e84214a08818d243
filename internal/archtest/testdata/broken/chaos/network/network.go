package network

import (
	_ "github.com/faultline-lab/faultline/internal/system"
	_ "github.com/Shopify/toxiproxy/v2"
)
