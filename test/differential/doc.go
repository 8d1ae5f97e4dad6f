// Package differential holds the analyser and the masks against PostgreSQL's own
// regression tests: some fourteen thousand statements that nobody wrote for this project.
//
// psql runs the files, as the regression suite does, through a relay that sees every
// message. Nothing that the server executes as a write may be classified as a read, and
// nothing that returns a masked value may pass unmasked.
//
// hack/preflight.sh brings the files, from the source package of Debian.
package differential
