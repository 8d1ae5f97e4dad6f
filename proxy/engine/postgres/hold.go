package postgres

import (
	"strconv"
	"strings"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// holdRelations makes the target hold the definitions of relations to the end of the transaction,
// for commands of which it resolves the names, or the views among them, when it executes them:
// of others it has resolved, and holds, what they read when the definitions are verified.
// A statement that is parsed and never executed does that, for what is beneath a view too.
// usable are the relations, by OID, of schemas that the session may use: others are beneath
// a view of those.
func (r *relay) holdRelations(f *sql.Facts, usable map[string]bool) error {
	var list []string
	for _, rel := range f.Relations {
		if rel.OID != 0 && rel.Name != "" && usable[decimalOID(rel.OID)] {
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

func decimalOID(oid uint32) string { return strconv.FormatUint(uint64(oid), 10) }
