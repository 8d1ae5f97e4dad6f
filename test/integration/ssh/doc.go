// Package ssh tests the gate between real clients of SSH and a real OpenSSH server.
package ssh
