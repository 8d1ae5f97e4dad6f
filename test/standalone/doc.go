// Package standalone tests the real proxy binary, without a cluster, with a real PostgreSQL
// behind it and psql before it. Its tests are named after the guarantees that they try to
// break.
package standalone
