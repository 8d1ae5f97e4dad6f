package postgres

import (
	"slices"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// reach notes the relations that a statement touches without naming them: all of a schema,
// or any at all. A rule about relations governs such a statement, and no rule admits it by
// relations alone.
func (c *classifier) reach(m any) {
	switch m := m.(type) {
	case *pgquery.DropStmt:
		c.reachDrop(m)
	case *pgquery.TruncateStmt:
		if m.Behavior == pgquery.DropBehavior_DROP_CASCADE {
			c.unnamed("", true)
		}
	case *pgquery.RenameStmt:
		if m.RenameType == pgquery.ObjectType_OBJECT_SCHEMA {
			c.unnamed(m.Subname, true)
		}
	case *pgquery.AlterOwnerStmt:
		if m.ObjectType == pgquery.ObjectType_OBJECT_SCHEMA {
			c.unnamed(m.Object.GetString_().GetSval(), true)
		}
	case *pgquery.GrantStmt:
		if m.Targtype == pgquery.GrantTargetType_ACL_TARGET_ALL_IN_SCHEMA {
			c.unnamedIn(m.Objects)
		}
	case *pgquery.ImportForeignSchemaStmt:
		c.unnamed(m.LocalSchema, true)
	case *pgquery.CreatePublicationStmt:
		if m.ForAllTables {
			c.unnamed("", false)
		}
	case *pgquery.PublicationObjSpec:
		switch m.Pubobjtype {
		case pgquery.PublicationObjSpecType_PUBLICATIONOBJ_TABLES_IN_SCHEMA:
			c.unnamed(m.Name, false)
		case pgquery.PublicationObjSpecType_PUBLICATIONOBJ_TABLES_IN_CUR_SCHEMA:
			c.unnamed("", false)
		default: // the others name their table
		}
	case *pgquery.AlterTableMoveAllStmt, *pgquery.DropOwnedStmt, *pgquery.ReassignOwnedStmt, *pgquery.DropdbStmt:
		c.unnamed("", true)
	default:
		c.reachUpkeep(m)
	}
}

// reachUpkeep notes what is kept up when no relation is named.
func (c *classifier) reachUpkeep(m any) {
	switch m := m.(type) {
	case *pgquery.ReindexStmt:
		if m.Relation == nil {
			schema := ""
			if m.Kind == pgquery.ReindexObjectType_REINDEX_OBJECT_SCHEMA {
				schema = m.Name
			}
			c.unnamed(schema, true)
		}
	case *pgquery.VacuumStmt:
		if len(m.Rels) == 0 {
			c.unnamed("", true)
		}
	case *pgquery.ClusterStmt:
		if m.Relation == nil {
			c.unnamed("", true)
		}
	}
}

// reachDrop notes what goes with what is dropped.
func (c *classifier) reachDrop(m *pgquery.DropStmt) {
	switch m.RemoveType {
	case pgquery.ObjectType_OBJECT_SCHEMA:
		c.unnamedIn(m.Objects)
	case pgquery.ObjectType_OBJECT_EXTENSION:
		c.unnamed("", true)
	default: // the others name what they drop
	}
	if m.Behavior == pgquery.DropBehavior_DROP_CASCADE {
		c.unnamed("", true)
	}
}

func (c *classifier) unnamedIn(schemas []*pgquery.Node) {
	for _, n := range schemas {
		c.unnamed(n.GetString_().GetSval(), true)
	}
}

// unnamed notes any relation of a schema; of every one if that is empty.
func (c *classifier) unnamed(schema string, write bool) {
	r := sql.Relation{Schema: schema, Write: write}
	if !slices.Contains(c.facts.Relations, r) {
		c.facts.Relations = append(c.facts.Relations, r)
	}
}
