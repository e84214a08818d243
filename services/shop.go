// Package services owns the files that describe the bundled systems, which say
// how each service starts and whom it calls: shop.yaml, the shop, whose services
// are in the folders beside, and systems of nodes. alerts.yaml has the alert rules.
package services

import "embed"

// FS holds the systems and alerts.yaml.
//
//go:embed shop.yaml queue.yaml fan-out.yaml shards.yaml discovery.yaml alerts.yaml
var FS embed.FS

// Systems lists the bundled systems by name, each a file NAME.yaml of FS.
func Systems() []string { return []string{"shop", "queue", "fan-out", "shards", "discovery"} }
