// Package canary plants secrets in everything that passes the proxy as it is shipped, and looks
// for them in every byte that it leaves behind.
package canary
