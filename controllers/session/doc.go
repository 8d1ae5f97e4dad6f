// Package session closes the books on sessions whose proxy is gone, marking them and their
// recordings as cut, and keeps the newest of the ended ones. Recordings stay: they end by
// retention.
package session
