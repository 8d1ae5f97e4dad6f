// Package kube is the backend in a cluster: the API server.
//
// It watches the custom resources of the gate namespace, and the rules and locks of the
// root namespace, and compiles them into a new snapshot a few milliseconds after a change.
// It decodes strictly: an object with a field it does not know shuts what it governs. While
// the API server does not answer the last snapshot stays, and ages: its proof of freshness
// is a consistent list of each kind that was compared with what the snapshot was made of.
//
// It reads Secrets and ConfigMaps by their exact names alone, and uses no Secret without
// its owner's consent.
package kube
