package postgres

import (
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// holdRelations makes the target hold the definitions of the relations that PREPARE and EXECUTE name,
// to the end of the transaction: it resolves their names when it executes them, unlike those
// of other statements, which it has resolved, and holds, when the definitions are verified.
// A statement that is parsed and never executed does that.
func (r *relay) holdRelations(f *sql.Facts) error {
	if !hasKind(f, "Prepare", "Execute") {
		return nil
	}
	var list []string
	for _, rel := range f.Relations {
		if rel.OID != 0 && rel.Name != "" {
			list = append(list, "ONLY "+quoteIdentifier(rel.Schema)+"."+quoteIdentifier(rel.Name)+" AS r"+strconv.Itoa(len(list)))
		}
	}
	if len(list) == 0 {
		return nil
	}
	name := r.secret + "h"
	m := appendString(appendString(beginMessage(nil, msgParse), name), "SELECT FROM "+strings.Join(list, ", "))
	m = appendClose(endMessage(append(m, 0, 0), 0), 'S', name)
	r.push(await{kind: awaitParse, quiet: true})
	r.push(await{kind: awaitClose, quiet: true})
	r.pipeline++
	return r.toTarget.write(m)
}
