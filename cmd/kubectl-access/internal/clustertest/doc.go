// Package clustertest runs the plugin against a real API server under the admission
// policies, as people would, with the operator and its webhooks down.
package clustertest
