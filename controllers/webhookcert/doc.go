// Package webhookcert gives the operator's own servers a certificate without help from
// outside: an authority and a certificate in one Secret that all replicas share, renewed in
// time, and the authority put into the webhook configurations.
//
// Every replica runs it, leader or not, because every replica serves webhooks. Whoever
// comes first makes what is missing; the others read it.
package webhookcert
