// Package rules holds CommandRules to what docs/rules.md says of them, by the proxy as it
// is shipped and a real PostgreSQL server.
package rules
