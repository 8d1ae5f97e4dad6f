// Package desired says what a gate consists of: pure functions from a Gate to the apply
// configurations of its Deployment, Service, accounts, rights and network policy.
//
// What is not in here the proxy does not get. In particular its Role names each Secret and
// ConfigMap that it may read, and nothing lets it change a grant, a rule or a decision.
package desired
