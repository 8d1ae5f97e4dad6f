package postgres

// tellingQuery is the part of columnsQuery that asks for what tells of masked values beside the
// columns themselves. of is a condition on the OID of a relation that was asked for; kin are those
// that share rows with one, refs the foreign keys that lead to one.
func tellingQuery(of string) string {
	branch := func(tag, relation, second, third, fourth, from string) string {
		return ` UNION ALL SELECT '` + tag + `', ` + relation + `::pg_catalog.text, ` + second + `, ` + third + `, ` + fourth + ` FROM ` + from
	}
	return branch("field", "s.root", "m.attname::pg_catalog.text", identified("a"), "a.attname::pg_catalog.text",
		`fields s JOIN `+attribute("m", "s.root", "s.number")+` JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) s.typ AND t.typrelid OPERATOR(pg_catalog.<>) 0`+
			` JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped JOIN `+class("t.typrelid")) +
		branch("generated", "k.root", "m.attname::pg_catalog.text", identified("a"), "a.attname::pg_catalog.text",
			`kin k JOIN `+generated+` JOIN `+sources+` JOIN `+attribute("a", "d.refobjid", "d.refobjsubid")+` JOIN `+class("a.attrelid")) +
		branch("unique", "k.root", indexColumns, `CASE WHEN `+computes+` THEN 'expression' WHEN i.indisexclusion THEN 'exclusion' ELSE '' END`, "NULL",
			`kin k JOIN pg_catalog.pg_index i ON i.indrelid OPERATOR(pg_catalog.=) k.oid AND (i.indisunique OR i.indisexclusion)`) +
		// What the server computes from several columns when one of them is written.
		branch("check", "k.root", attributesOf("o.conrelid", "o.conkey"), `CASE WHEN o.contype OPERATOR(pg_catalog.=) 'c' AND (NOT o.convalidated OR `+steered("o.conbin")+`) THEN 'invalid' ELSE '' END`, "NULL",
			`kin k JOIN pg_catalog.pg_constraint o ON o.conrelid OPERATOR(pg_catalog.=) k.oid AND (o.contype OPERATOR(pg_catalog.=) 'c'`+
				` OR o.contype OPERATOR(pg_catalog.=) 'f' AND pg_catalog.cardinality(o.conkey) OPERATOR(pg_catalog.>) 1)`) +
		branch("check", "k.root", attributesOf("p.polrelid", policyColumns), "''", "NULL", `kin k JOIN pg_catalog.pg_policy p ON p.polrelid OPERATOR(pg_catalog.=) k.oid`) +
		branch("check", "k.root", `(SELECT COALESCE(pg_catalog.json_agg(a.attname)::pg_catalog.text, '[]') FROM `+sourcesIn+`)`, "''", "NULL", `kin k JOIN `+generated) +
		branch("check", "k.root", indexColumns, "''", "NULL", `kin k JOIN pg_catalog.pg_index i ON i.indrelid OPERATOR(pg_catalog.=) k.oid AND `+computes) +
		branch("check", "k.root", attributesOf("x.stxrelid", dependencies("pg_statistic_ext", "x.oid", "x.stxrelid")), "''", "NULL",
			`kin k JOIN pg_catalog.pg_statistic_ext x ON x.stxrelid OPERATOR(pg_catalog.=) k.oid AND x.stxexprs IS NOT NULL`) +
		branch("partitioned", "k.root", attributesOf("t.partrelid", partitionColumns), "t.partstrat::pg_catalog.text", "NULL",
			`kin k JOIN pg_catalog.pg_partitioned_table t ON t.partrelid OPERATOR(pg_catalog.=) k.oid`) +
		branch("filtered", "p.polrelid", "NULL", identified("a"), "a.attname::pg_catalog.text", filtered(of)) +
		branch("reference", "f.root", "a.attname::pg_catalog.text", identified("b"), "b.attname::pg_catalog.text",
			`kin f JOIN pg_catalog.pg_constraint o ON o.conrelid OPERATOR(pg_catalog.=) f.oid JOIN `+class("o.confrelid")+
				` CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(o.conkey), pg_catalog.unnest(o.confkey)) k(x, y)`+
				` JOIN `+attribute("a", "o.conrelid", "k.x")+` JOIN `+attribute("b", "o.confrelid", "k.y")+` WHERE o.contype OPERATOR(pg_catalog.=) 'f'`) +
		branch("referenced", "f.root", `CASE WHEN f.direct THEN `+attributesOf("o.confrelid", "o.confkey")+` END`, identified("a"), "a.attname::pg_catalog.text",
			`refs f JOIN pg_catalog.pg_constraint o ON o.oid OPERATOR(pg_catalog.=) f.con JOIN `+class("o.conrelid")+
				` JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) o.conrelid AND a.attnum OPERATOR(pg_catalog.=) ANY (o.conkey)`)
}

// fieldsOf are the types of users that are in the columns of relations: their own, those of elements,
// beneath domains, in ranges, and of fields of rows.
func fieldsOf(of string) string {
	const user = ` OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid`
	return ` fields(root, number, typ) AS (SELECT a.attrelid, a.attnum, a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) ` + of +
		` AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND a.atttypid` + user +
		` UNION SELECT f.root, f.number, i.t FROM fields f JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) f.typ CROSS JOIN LATERAL (SELECT t.typelem UNION ALL SELECT t.typbasetype` +
		` UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid OR r.rngmultitypid OPERATOR(pg_catalog.=) t.oid` +
		` UNION ALL SELECT b.atttypid FROM pg_catalog.pg_attribute b WHERE b.attrelid OPERATOR(pg_catalog.=) t.typrelid AND b.attnum OPERATOR(pg_catalog.>) 0 AND NOT b.attisdropped) i(t) WHERE i.t` + user + `)`
}

// class joins a relation c by its OID, and the schema n that it is in.
func class(oid string) string {
	return `pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) ` + oid + ` JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace`
}

// attribute joins a column of a relation by its number.
func attribute(a, relation, number string) string {
	return `pg_catalog.pg_attribute ` + a + ` ON ` + a + `.attrelid OPERATOR(pg_catalog.=) ` + relation + ` AND ` + a + `.attnum OPERATOR(pg_catalog.=) ` + number
}

// identified is what masksElsewhere takes: as a JSON list the schema n, name and OID of the relation c, and the number of its column a.
func identified(a string) string {
	return `pg_catalog.json_build_array(n.nspname, c.relname, c.oid::pg_catalog.text, ` + a + `.attnum::pg_catalog.text)::pg_catalog.text`
}

// referencing joins the foreign keys that reference a relation, by the triggers that they
// have there: those are found by an index.
func referencing(relation string) string {
	return `pg_catalog.pg_trigger t ON t.tgrelid OPERATOR(pg_catalog.=) ` + relation + ` JOIN pg_catalog.pg_constraint o ON o.oid OPERATOR(pg_catalog.=) t.tgconstraint` +
		` AND o.contype OPERATOR(pg_catalog.=) 'f' AND o.confrelid OPERATOR(pg_catalog.=) t.tgrelid`
}

// attributesOf is a JSON list of the names of a relation's columns of the given numbers;
// NULL if there are none, or if one stands for the row as a whole.
func attributesOf(relation, numbers string) string {
	return `(SELECT pg_catalog.json_agg(a.attname)::pg_catalog.text FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) ` + relation +
		` AND a.attnum OPERATOR(pg_catalog.=) ANY (` + numbers + `) AND NOT 0 OPERATOR(pg_catalog.=) ANY (` + numbers + `))`
}

// dependencies are the numbers of the columns of a relation that an object of a catalog depends on.
func dependencies(catalog, oid, relation string) string {
	return `ARRAY(SELECT d.refobjsubid FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.` + catalog + `'::pg_catalog.regclass` +
		` AND d.objid OPERATOR(pg_catalog.=) ` + oid + ` AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass` +
		` AND d.refobjid OPERATOR(pg_catalog.=) ` + relation + ` AND d.refobjsubid OPERATOR(pg_catalog.>) 0)`
}

// steered is the condition that what an expression says of the same row may be another by the session's
// settings: it calls more than immutable functions, or converts by those of types, of which some follow DateStyle
// or TimeZone. What a session does not steer, such as now(), is no matter here.
func steered(expression string) string {
	return `(pg_catalog.concat(` + expression + `) OPERATOR(pg_catalog.~) '{COERCEVIAIO |{SQLVALUEFUNCTION :op (1|2|5|6|14) '` +
		` OR EXISTS (SELECT 1 FROM pg_catalog.regexp_matches(pg_catalog.concat(` + expression + `), ':(op)?funcid ([0-9]+) ', 'g') m(f) JOIN pg_catalog.pg_proc p` +
		` ON p.oid OPERATOR(pg_catalog.=) m.f[2]::pg_catalog.oid WHERE p.provolatile OPERATOR(pg_catalog.<>) 'i'` +
		` AND p.oid OPERATOR(pg_catalog.<>) ALL ('{now,transaction_timestamp,statement_timestamp,clock_timestamp}'::pg_catalog.regproc[]::pg_catalog.oid[])))`
}

// wholeRow is how the server writes down the row as a whole in an expression: no dependency tells of it.
const wholeRow = `'%:varattno 0 %'`

const (
	// generated joins the columns m of the relation k that are generated, and their definitions f.
	generated = `pg_catalog.pg_attrdef f ON f.adrelid OPERATOR(pg_catalog.=) k.oid JOIN pg_catalog.pg_attribute m ON m.attrelid OPERATOR(pg_catalog.=) f.adrelid` +
		` AND m.attnum OPERATOR(pg_catalog.=) f.adnum AND m.attgenerated OPERATOR(pg_catalog.<>) ''`
	// sourceOf is the condition that the dependency d is of the definition f on a column.
	sourceOf = `d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass` +
		` AND d.refobjid OPERATOR(pg_catalog.=) f.adrelid AND d.refobjsubid OPERATOR(pg_catalog.<>) f.adnum AND d.refobjsubid OPERATOR(pg_catalog.>) 0` +
		` AND (d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) f.oid` +
		` OR d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) f.adrelid` +
		` AND d.objsubid OPERATOR(pg_catalog.=) f.adnum)`
	sources   = `pg_catalog.pg_depend d ON ` + sourceOf
	sourcesIn = `pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid WHERE ` + sourceOf
	// computes is the condition that the index i is of more than columns.
	computes = `(i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)`
)

var (
	// policyColumns are the numbers of the columns of its own table that a policy reads.
	policyColumns = dependencies("pg_policy", "p.oid", "p.polrelid")
	// inIndex is the condition that an index i is of the column a, or computes from it.
	inIndex = `(a.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[]) OR ` + computes +
		` AND a.attnum OPERATOR(pg_catalog.=) ANY (` + dependencies("pg_class", "i.indexrelid", "i.indrelid") + `))`
	// indexColumns is a JSON list of the names of the columns that an index is of, or computes from; NULL if that is the row as a whole.
	indexColumns = `CASE WHEN pg_catalog.concat(i.indexprs, i.indpred) OPERATOR(pg_catalog.!~~) ` + wholeRow + ` THEN (SELECT COALESCE(pg_catalog.json_agg(a.attname)::pg_catalog.text, '[]')` +
		` FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.>) 0 AND ` + inIndex + `) END`
	// partitionColumns are the numbers of the columns that say in which partition of t a row is.
	// The server has each depend on its table, those of expressions too.
	partitionColumns = `ARRAY(SELECT d.objsubid FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass` +
		` AND d.objid OPERATOR(pg_catalog.=) t.partrelid AND d.objsubid OPERATOR(pg_catalog.>) 0 AND d.refclassid OPERATOR(pg_catalog.=) d.classid` +
		` AND d.refobjid OPERATOR(pg_catalog.=) t.partrelid AND d.refobjsubid OPERATOR(pg_catalog.=) 0 AND d.deptype OPERATOR(pg_catalog.=) 'i')`
)

// filtered joins the policies of relations that say which of their rows there are, and the columns that they read, of other relations too.
func filtered(of string) string {
	const reads = `d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_policy'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid` +
		` AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass`
	return `pg_catalog.pg_policy p JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) p.polrelid AND r.relrowsecurity JOIN pg_catalog.pg_depend d ON ` + reads +
		` JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND (a.attnum OPERATOR(pg_catalog.=) d.refobjsubid` +
		` OR pg_catalog.concat(p.polqual, p.polwithcheck) OPERATOR(pg_catalog.~~) ` + wholeRow + `)` +
		` JOIN ` + class("a.attrelid") + ` WHERE p.polrelid OPERATOR(pg_catalog.=) ` + of
}
