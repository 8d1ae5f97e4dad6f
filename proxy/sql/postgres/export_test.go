package postgres

import "maps"

// UsableFunctions returns the functions that may be called on a target with masks.
func UsableFunctions(major int) map[string]bool {
	all := maps.Clone(pureFunctions)
	maps.Copy(all, visibleReads)
	maps.DeleteFunc(all, func(name string, _ bool) bool { return !usable(name, major) })
	return all
}

// RowColumns returns the columns of a function in FROM; none if it may not stand there.
func RowColumns(name string, major int) []string { return rowColumns(name, major) }
