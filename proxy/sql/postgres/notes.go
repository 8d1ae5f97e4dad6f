package postgres

import (
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// note reports what a message means beyond its kind: features, written relations,
// credentials.
func (c *classifier) note(m any) {
	c.write(changed(m), defined(m))
	c.reach(m)
	if name := constructor(m); name != "" {
		c.function([]string{name})
	}
	switch m := m.(type) {
	case *pgquery.SelectStmt:
		c.pin(m)
	case *pgquery.TruncateStmt:
		c.writeAll(m.Relations)
	case *pgquery.LockStmt:
		c.writeAll(m.Relations)
	case *pgquery.CopyStmt:
		c.noteCopy(m)
	case *pgquery.ExecuteStmt:
		c.executes = append(c.executes, m.Name)
	case *pgquery.PrepareStmt:
		c.prepares = append(c.prepares, m.Name)
	case *pgquery.VariableSetStmt:
		c.setting(m)
	case *pgquery.DiscardStmt:
		if m.Target == pgquery.DiscardMode_DISCARD_ALL {
			c.feature(sql.FeatureRoleChange)
		}
	case *pgquery.TransactionStmt:
		switch m.Kind {
		case pgquery.TransactionStmtKind_TRANS_STMT_PREPARE, pgquery.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED,
			pgquery.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
			c.feature(sql.FeatureTwoPhase)
		default: // the others end or begin a transaction of this session
		}
	case *pgquery.DoStmt:
		c.feature(sql.FeatureDoBlock)
		c.language(m.Args)
		c.code()
	case *pgquery.CallStmt:
		c.feature(sql.FeatureFunctionCall)
	case *pgquery.ColumnRef:
		if n := names(m.Fields); len(n) > 1 {
			c.attribute(n[len(n)-1])
		}
	case *pgquery.A_Indirection:
		for _, name := range names(m.Indirection) {
			c.attribute(name)
		}
	default:
		c.noteRoles(m)
		c.noteDefinition(m)
		c.noteSpecial(m)
	}
}

// changed returns the relation whose rows a statement changes; nil if there is none.
func changed(m any) *pgquery.RangeVar {
	switch m := m.(type) {
	case *pgquery.InsertStmt:
		return m.Relation
	case *pgquery.UpdateStmt:
		return m.Relation
	case *pgquery.DeleteStmt:
		return m.Relation
	case *pgquery.MergeStmt:
		return m.Relation
	case *pgquery.IntoClause:
		return m.Rel
	}
	return nil
}

func (c *classifier) writeAll(list []*pgquery.Node) {
	for _, n := range list {
		c.write(n.GetRangeVar())
	}
}

func (c *classifier) noteCopy(m *pgquery.CopyStmt) {
	if m.IsFrom {
		c.write(m.Relation)
	}
	switch {
	case m.IsProgram:
		c.feature(sql.FeatureCopyProgram)
	case m.Filename != "":
		c.feature(sql.FeatureCopyServerFile)
	}
}

// noteRoles reports what changes rights and roles.
func (c *classifier) noteRoles(m any) {
	switch m := m.(type) {
	case *pgquery.CreateRoleStmt:
		c.roleOptions(m.Options)
	case *pgquery.AlterRoleStmt:
		if m.Action >= 0 { // else members are taken out
			c.roleOptions(m.Options)
		}
	case *pgquery.AlterRoleSetStmt:
		c.setting(m.Setstmt)
	case *pgquery.AlterDatabaseSetStmt:
		c.setting(m.Setstmt)
	case *pgquery.GrantRoleStmt:
		c.noteMembership(m)
	case *pgquery.GrantStmt:
		if m.IsGrant && m.Objtype == pgquery.ObjectType_OBJECT_PARAMETER_ACL {
			c.feature(sql.FeatureRoleEscalation)
		}
	case *pgquery.ReassignOwnedStmt:
		c.feature(sql.FeatureRoleEscalation)
	case *pgquery.CreateUserMappingStmt, *pgquery.AlterUserMappingStmt, *pgquery.CreateSubscriptionStmt:
		c.credential()
	case *pgquery.AlterSubscriptionStmt:
		if m.Conninfo != "" {
			c.credential()
		}
	}
}

// noteMembership reports that membership is given. What a role may do is not in the text:
// any may be more than its new member had.
func (c *classifier) noteMembership(m *pgquery.GrantRoleStmt) {
	if m.IsGrant {
		c.feature(sql.FeatureRoleEscalation)
	}
}

// escalating are the role options that give more than the creator may have meant; each
// also without effect when false, which only their argument tells.
var escalating = words("superuser createrole createdb isreplication bypassrls rolemembers adminmembers addroleto")

func (c *classifier) roleOptions(options []*pgquery.Node) {
	for _, n := range options {
		d := n.GetDefElem()
		if d == nil {
			continue
		}
		switch b := d.Arg.GetBoolean(); {
		case d.Defname == "password":
			c.credential()
		case escalating[d.Defname] && (b == nil || b.Boolval):
			c.feature(sql.FeatureRoleEscalation)
		}
	}
}

// writable reports a view by which a system catalog, or pg_settings, can be written under
// another name: one that reads nothing else, as the server writes through such views.
func (c *classifier) writable(q *pgquery.SelectStmt) {
	if len(q.GetFromClause()) != 1 {
		return
	}
	if r := q.FromClause[0].GetRangeVar(); r != nil && isCatalog(r.Schemaname, r.Relname) {
		c.feature(sql.FeatureCatalogWrite)
	}
}

// noteDefinition reports what definitions change.
func (c *classifier) noteDefinition(m any) {
	switch m := m.(type) {
	case *pgquery.CreateForeignTableStmt:
		c.feature(sql.FeatureForeignServer)
	case *pgquery.CreateTableSpaceStmt:
		c.feature(sql.FeatureServerFile)
	case *pgquery.ViewStmt:
		c.writable(m.Query.GetSelectStmt())
	case *pgquery.AlterTableCmd:
		c.noteAlterTable(m)
	case *pgquery.DropStmt:
		c.named(m.RemoveType, m.Objects)
		if m.RemoveType == pgquery.ObjectType_OBJECT_POLICY {
			c.feature(sql.FeatureRowSecurity)
		}
	case *pgquery.CommentStmt:
		c.named(m.Objtype, []*pgquery.Node{m.Object})
	case *pgquery.SecLabelStmt:
		c.named(m.Objtype, []*pgquery.Node{m.Object})
	case *pgquery.CreateTrigStmt, *pgquery.RuleStmt:
		c.feature(sql.FeatureTrigger)
	case *pgquery.CreatePolicyStmt, *pgquery.AlterPolicyStmt:
		c.feature(sql.FeatureRowSecurity)
	case *pgquery.CreateFunctionStmt:
		c.language(m.Options)
		c.functionOptions(m.Options)
		c.code()
	case *pgquery.AlterFunctionStmt:
		c.functionOptions(m.Actions)
	}
}

// defined returns the relation that a definition makes, changes or belongs to; nil if it
// is about none.
func defined(m any) *pgquery.RangeVar {
	switch m := m.(type) {
	case *pgquery.CreateStmt:
		return m.Relation
	case *pgquery.CreateForeignTableStmt:
		return m.BaseStmt.GetRelation()
	case *pgquery.ViewStmt:
		return m.View
	case *pgquery.IndexStmt:
		return m.Relation
	case *pgquery.CreateSeqStmt:
		return m.Sequence
	case *pgquery.AlterSeqStmt:
		return m.Sequence
	case *pgquery.RefreshMatViewStmt:
		return m.Relation
	case *pgquery.RenameStmt:
		return m.Relation
	case *pgquery.AlterObjectSchemaStmt:
		return m.Relation
	case *pgquery.AlterTableStmt:
		return m.Relation
	case *pgquery.CreateTrigStmt:
		return m.Relation
	case *pgquery.RuleStmt:
		return m.Relation
	case *pgquery.CreatePolicyStmt:
		return m.Table
	case *pgquery.AlterPolicyStmt:
		return m.Table
	case *pgquery.ClusterStmt:
		return m.Relation
	case *pgquery.ReindexStmt:
		return m.Relation
	}
	return nil
}

func (c *classifier) noteAlterTable(m *pgquery.AlterTableCmd) {
	switch m.Subtype {
	case pgquery.AlterTableType_AT_EnableRowSecurity, pgquery.AlterTableType_AT_DisableRowSecurity, pgquery.AlterTableType_AT_ForceRowSecurity,
		pgquery.AlterTableType_AT_NoForceRowSecurity:
		c.feature(sql.FeatureRowSecurity)
	case pgquery.AlterTableType_AT_EnableTrig, pgquery.AlterTableType_AT_EnableAlwaysTrig, pgquery.AlterTableType_AT_EnableReplicaTrig,
		pgquery.AlterTableType_AT_DisableTrig, pgquery.AlterTableType_AT_EnableTrigAll, pgquery.AlterTableType_AT_DisableTrigAll,
		pgquery.AlterTableType_AT_EnableTrigUser, pgquery.AlterTableType_AT_DisableTrigUser, pgquery.AlterTableType_AT_EnableRule,
		pgquery.AlterTableType_AT_EnableAlwaysRule, pgquery.AlterTableType_AT_EnableReplicaRule, pgquery.AlterTableType_AT_DisableRule:
		c.feature(sql.FeatureTrigger)
	default: // the others are no feature
	}
}

// noteSpecial reports statements that are a feature by themselves.
func (c *classifier) noteSpecial(m any) {
	switch m := m.(type) {
	case *pgquery.DropdbStmt:
		c.feature(sql.FeatureDropDatabase)
	case *pgquery.AlterSystemStmt:
		c.feature(sql.FeatureAlterSystem)
		c.setting(m.Setstmt)
	case *pgquery.LoadStmt:
		c.feature(sql.FeatureLoadLibrary)
	case *pgquery.CheckPointStmt:
		c.feature(sql.FeatureServerControl)
	case *pgquery.CreatePLangStmt, *pgquery.CreateTransformStmt:
		c.feature(sql.FeatureUntrustedLanguage)
	case *pgquery.CreateAmStmt:
		c.feature(sql.FeatureLoadLibrary)
	case *pgquery.CreateExtensionStmt:
		c.feature(sql.FeatureCreateExtension)
		if strings.HasPrefix(m.Extname, "pl") && m.Extname != "plpgsql" {
			c.feature(sql.FeatureUntrustedLanguage)
		}
	case *pgquery.AlterExtensionStmt, *pgquery.AlterExtensionContentsStmt:
		c.feature(sql.FeatureCreateExtension)
	case *pgquery.CreateEventTrigStmt, *pgquery.AlterEventTrigStmt:
		c.feature(sql.FeatureEventTrigger)
	case *pgquery.CreatePublicationStmt, *pgquery.AlterPublicationStmt, *pgquery.CreateSubscriptionStmt, *pgquery.AlterSubscriptionStmt,
		*pgquery.DropSubscriptionStmt, *pgquery.ReplicaIdentityStmt:
		c.feature(sql.FeatureReplication)
	case *pgquery.CreateFdwStmt, *pgquery.AlterFdwStmt, *pgquery.CreateForeignServerStmt, *pgquery.AlterForeignServerStmt,
		*pgquery.DropUserMappingStmt, *pgquery.ImportForeignSchemaStmt:
		c.feature(sql.FeatureForeignServer)
		if c.mentionsPassword() {
			c.credential()
		}
	case *pgquery.CreateUserMappingStmt, *pgquery.AlterUserMappingStmt:
		c.feature(sql.FeatureForeignServer)
	}
	if about, ok := m.(interface{ GetObjtype() pgquery.ObjectType }); ok && about.GetObjtype() == pgquery.ObjectType_OBJECT_LARGEOBJECT {
		c.feature(sql.FeatureLargeObject)
	}
	if about, ok := m.(interface{ GetObjectType() pgquery.ObjectType }); ok && about.GetObjectType() == pgquery.ObjectType_OBJECT_LARGEOBJECT {
		c.feature(sql.FeatureLargeObject)
	}
}

// language reports code in a language that is not confined to SQL.
func (c *classifier) language(options []*pgquery.Node) {
	for _, n := range options {
		d := n.GetDefElem()
		if d == nil || d.Defname != "language" {
			continue
		}
		switch d.Arg.GetString_().GetSval() {
		case "sql", "plpgsql":
		case "c", "internal":
			c.feature(sql.FeatureLoadLibrary)
			c.feature(sql.FeatureUntrustedLanguage)
		default:
			c.feature(sql.FeatureUntrustedLanguage)
		}
	}
}

func (c *classifier) functionOptions(options []*pgquery.Node) {
	for _, n := range options {
		switch d := n.GetDefElem(); {
		case d.GetDefname() == "security" && (d.Arg.GetBoolean() == nil || d.Arg.GetBoolean().Boolval):
			c.feature(sql.FeatureSecurityDefiner)
		case d.GetDefname() == "set":
			c.setting(d.Arg.GetVariableSetStmt())
		}
	}
}

// code notes that the text holds code whose constants are not told apart.
func (c *classifier) code() {
	if c.mentionsPassword() {
		c.credential()
	}
}
