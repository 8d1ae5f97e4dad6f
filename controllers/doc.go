// Package controllers puts the operator together: which caches there are, what is kept in
// them, and which reconcilers run on them.
//
// Of Secrets the caches hold metadata alone, and that only of those which the operator
// delivered or whose owners let a Target use them. Of ConfigMaps they hold the metadata of
// recordings.
package controllers
