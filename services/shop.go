// Package services owns the files that describe the shop as a system: shop.yaml,
// which says how each service starts and whom it calls, and alerts.yaml, the
// alert rules. The services themselves are in the folders beside.
package services

import "embed"

// FS holds shop.yaml and alerts.yaml.
//
//go:embed shop.yaml alerts.yaml
var FS embed.FS
