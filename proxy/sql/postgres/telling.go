package postgres

import (
	"encoding/json"
	"slices"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// describeFields hides the columns whose values are rows, or hold rows, with a field that is masked where
// the type of those rows is a table, or that is named as masked columns are.
func (k *known) describeFields(rows [][]*string, byOID map[string]*relation) {
	for _, row := range rows {
		v := values(row)
		if v[0] != "field" || !k.masksElsewhere(v[3], v[4]) {
			continue
		}
		r := byOID[v[1]]
		for i := range r.columns {
			if c := &r.columns[i]; c.name == v[2] && c.mask == 0 {
				c.mask, c.origin, c.uses = sql.Hidden, r.schema+"."+r.name+"."+c.name, sql.Uses{}
			}
		}
	}
}

// describeTelling notes what else tells of a masked column: columns generated from it, unique
// indexes over it, what the server computes from it when another column is written, references to it,
// and what says by it where a row is, or whether there is one.
func (k *known) describeTelling(rows [][]*string, byOID map[string]*relation) {
	for _, row := range rows {
		if v := values(row); v[0] == "generated" {
			byOID[v[1]].tellGenerated(v[2], v[4], k.masksElsewhere(v[3], v[4]))
		}
	}
	for _, row := range rows {
		v := values(row)
		r := byOID[v[1]]
		switch v[0] {
		case "unique":
			r.tellUnique(v[2], v[3])
		case "check":
			r.tellChecked(v[2], v[3])
		case "partitioned":
			r.tellPartitioned(v[2], v[3])
		case "filtered":
			r.filtered = r.filtered || k.masksElsewhere(v[3], v[4])
		case "reference":
			elsewhere := k.masksElsewhere(v[3], v[4])
			r.telling[v[2]] = r.telling[v[2]] || elsewhere
			r.guarded = r.guarded || elsewhere || r.hides(v[2])
		case "referenced":
			r.held = r.held || k.masksElsewhere(v[3], v[4])
			if keys, ok := keysOf(v[2]); ok {
				for _, name := range keys {
					r.keys[name] = true
				}
			}
		}
	}
	for _, r := range byOID {
		for name := range r.moving {
			r.checked[name] = r.checked[name] || r.guarded
		}
	}
}

// tellGenerated notes that the column of a name, of this relation or of one that shares rows with it,
// is generated from another one; masked says whether that is masked there.
func (r *relation) tellGenerated(made, from string, masked bool) {
	source := columnsNamed(r.columns, from)
	for i := range r.columns {
		c := &r.columns[i]
		if c.name != made || c.mask != 0 || !masked && !r.hides(from) {
			continue
		}
		c.secret, c.origin = true, r.schema+"."+r.name+"."+from
		if len(source) == 1 && source[0].mask != 0 {
			c.origin = source[0].origin
		}
	}
}

// masksElsewhere reports whether a column is masked, given its name and, as a JSON list,
// its table's schema and name, its OID and the column's number.
func (k *known) masksElsewhere(table, name string) bool {
	var of [4]string
	return json.Unmarshal([]byte(table), &of) != nil || k.masks.Mask(of[0], of[1], name) != 0 || k.follows(of[2], of[3])
}

// tellUnique notes the columns of a unique index, and all masked ones, where that a value
// is there already would tell more of a masked one than the rule admits.
func (r *relation) tellUnique(list, kind string) {
	keys, ok := keysOf(list)
	for _, c := range r.columns {
		r.unique[c.name] = r.unique[c.name] || !ok || slices.Contains(keys, c.name)
	}
	over := !ok || kind == "expression" || slices.ContainsFunc(keys, func(k string) bool {
		// A conflict says what a comparison would say.
		found := columnsNamed(r.columns, k)
		return r.hides(k) && (kind != "" || len(found) != 1 || !found[0].uses.Equality)
	})
	if !over || ok && !slices.ContainsFunc(keys, r.hides) || !r.masked() {
		return
	}
	r.guarded = true
	for _, c := range r.columns {
		if c.mask != 0 || !ok || slices.Contains(keys, c.name) {
			r.telling[c.name] = true
		}
	}
}

// tellPartitioned notes the columns that say in which partition a row is, and that a masked one does. That of a
// hash tells little, and nothing that a comparison would not.
func (r *relation) tellPartitioned(list, strategy string) {
	keys, ok := keysOf(list)
	for _, c := range r.columns {
		r.moving[c.name] = r.moving[c.name] || !ok || slices.Contains(keys, c.name)
		if (c.mask != 0 || c.secret) && (!ok || slices.Contains(keys, c.name)) && (strategy != "h" || !c.uses.Equality) {
			r.parted = c.name
		}
	}
}

// tellChecked notes the columns that the server combines with a masked one when they are written. What
// is not yet valid for all rows is asked of each that is written, whatever column is.
func (r *relation) tellChecked(list, kind string) {
	keys, ok := keysOf(list)
	over := !ok && r.masked() || slices.ContainsFunc(keys, r.hides)
	r.guarded = r.guarded || over
	for _, c := range r.columns {
		others := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == c.name })
		if over && (!ok || kind == "invalid") || len(others) < len(keys) && slices.ContainsFunc(others, r.hides) {
			r.checked[c.name] = true
		}
	}
}

// keysOf reads a list of names of columns.
func keysOf(s string) (keys []string, ok bool) {
	return keys, json.Unmarshal([]byte(s), &keys) == nil
}

// hides reports whether the column of a name is masked, or is not the relation's own: then
// a child has it, and whether that masks it is not known.
func (r *relation) hides(name string) bool {
	found := columnsNamed(r.columns, name)
	return len(found) != 1 || found[0].mask != 0 || found[0].secret
}
