// Package kubernetes tries the proxy as it is shipped in front of a real API server, with
// kubectl, with client-go and with requests that no client sends.
package kubernetes
