// Package crd holds the CustomResourceDefinitions, as they are applied to a cluster, for
// programs that need their schemas without one.
package crd

import "embed"

// Bases holds one file for each kind under bases/.
//
//go:embed bases/*.yaml
var Bases embed.FS
