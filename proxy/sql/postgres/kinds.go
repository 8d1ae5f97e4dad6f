package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

func words(s string) map[string]bool {
	set := map[string]bool{}
	start := -1
	for i := range len(s) + 1 {
		switch blank := i == len(s) || s[i] == ' ' || s[i] == '\n' || s[i] == '\t'; {
		case !blank && start < 0:
			start = i
		case blank && start >= 0:
			set[s[start:i]] = true
			start = -1
		}
	}
	return set
}

// inert are the messages of a parse tree that are no statements and mean nothing beyond
// their children. What is neither here, nor a statement, nor handled by the classifier is
// unknown: above all the nodes that only the server's later stages make.
var inert = words(`
	Alias GroupingFunc MergeSupportFunc NamedArgExpr SubLink CaseExpr CaseWhen RowExpr CoalesceExpr MinMaxExpr SQLValueFunction XmlExpr
	JsonFormat JsonReturning JsonValueExpr JsonIsPredicate JsonBehavior BoolExpr NullTest BooleanTest SetToDefault CurrentOfExpr JoinExpr TypeName
	ColumnRef ParamRef A_Expr TypeCast CollateClause RoleSpec A_Star A_Indices A_Indirection A_ArrayExpr ResTarget MultiAssignRef SortBy WindowDef
	RangeSubselect RangeFunction RangeTableFunc RangeTableFuncCol ColumnDef TableLikeClause IndexElem DefElem XmlSerialize PartitionElem
	PartitionSpec PartitionBoundSpec PartitionRangeDatum SinglePartitionSpec PartitionCmd GroupingSet WithClause InferClause OnConflictClause
	CTESearchClause CTECycleClause CommonTableExpr MergeWhenClause TriggerTransition JsonOutput JsonArgument JsonFuncExpr JsonTablePathSpec
	JsonTable JsonTableColumn JsonKeyValue JsonParseExpr JsonScalarExpr JsonSerializeExpr JsonObjectConstructor JsonArrayConstructor
	JsonArrayQueryConstructor JsonAggConstructor JsonObjectAgg JsonArrayAgg RawStmt ReplicaIdentityStmt AlterTableCmd ObjectWithArgs AccessPriv
	Constraint CreateOpClassItem StatsElem FunctionParameter VacuumRelation PublicationTable PublicationObjSpec Integer Float Boolean String
	BitString List A_Const ReturnStmt LockingClause IntoClause`)

func node(k sql.Kind, g sql.Group, object string) sql.Node {
	return sql.Node{Kind: k, Group: g, Object: object}
}

// plain are the statements whose kind does not depend on anything in them.
var plain = map[string]sql.Node{
	"InsertStmt":                   node("Insert", sql.GroupWrite, ""),
	"UpdateStmt":                   node("Update", sql.GroupWrite, ""),
	"DeleteStmt":                   node("Delete", sql.GroupWrite, ""),
	"MergeStmt":                    node("Merge", sql.GroupWrite, ""),
	"TruncateStmt":                 {Kind: "Truncate", Group: sql.GroupWrite, Unfiltered: true},
	"CallStmt":                     node("Call", sql.GroupWrite, ""),
	"DoStmt":                       node("Do", sql.GroupAdministration, ""),
	"ExplainStmt":                  node("Explain", sql.GroupRead, ""),
	"PrepareStmt":                  node("Prepare", sql.GroupSession, ""),
	"ExecuteStmt":                  node("Execute", sql.GroupRead, ""),
	"DeallocateStmt":               node("Deallocate", sql.GroupSession, ""),
	"DeclareCursorStmt":            node("Declare", sql.GroupRead, ""),
	"FetchStmt":                    node("Fetch", sql.GroupRead, ""),
	"ClosePortalStmt":              node("Close", sql.GroupSession, ""),
	"VariableShowStmt":             node("Show", sql.GroupSession, ""),
	"DiscardStmt":                  node("Discard", sql.GroupSession, ""),
	"ConstraintsSetStmt":           node("Set", sql.GroupTransaction, ""),
	"ListenStmt":                   node("Listen", sql.GroupSession, ""),
	"UnlistenStmt":                 node("Unlisten", sql.GroupSession, ""),
	"NotifyStmt":                   node("Notify", sql.GroupWrite, ""),
	"LockStmt":                     node("Lock", sql.GroupWrite, ""),
	"ClusterStmt":                  node("Cluster", sql.GroupAdministration, "Table"),
	"ReindexStmt":                  node("Reindex", sql.GroupAdministration, "Index"),
	"CheckPointStmt":               node("Checkpoint", sql.GroupAdministration, ""),
	"LoadStmt":                     node("Load", sql.GroupAdministration, ""),
	"RefreshMatViewStmt":           node("Refresh", sql.GroupWrite, "MaterializedView"),
	"ReassignOwnedStmt":            node("Reassign", sql.GroupPrivilege, "Role"),
	"DropOwnedStmt":                node("Drop", sql.GroupPrivilege, "Owned"),
	"SecLabelStmt":                 node("SecurityLabel", sql.GroupPrivilege, ""),
	"ImportForeignSchemaStmt":      node("ImportForeignSchema", sql.GroupDefinition, "ForeignTable"),
	"CreateStmt":                   node("Create", sql.GroupDefinition, "Table"),
	"CreateSchemaStmt":             node("Create", sql.GroupDefinition, "Schema"),
	"CreateForeignTableStmt":       node("Create", sql.GroupDefinition, "ForeignTable"),
	"CreateSeqStmt":                node("Create", sql.GroupDefinition, "Sequence"),
	"CreateDomainStmt":             node("Create", sql.GroupDefinition, "Domain"),
	"CreateOpClassStmt":            node("Create", sql.GroupDefinition, "OperatorClass"),
	"CreateOpFamilyStmt":           node("Create", sql.GroupDefinition, "OperatorFamily"),
	"CreateConversionStmt":         node("Create", sql.GroupDefinition, "Conversion"),
	"CreateCastStmt":               node("Create", sql.GroupDefinition, "Cast"),
	"CreateTransformStmt":          node("Create", sql.GroupDefinition, "Transform"),
	"CreateStatsStmt":              node("Create", sql.GroupDefinition, "Statistics"),
	"CreatePolicyStmt":             node("Create", sql.GroupDefinition, "Policy"),
	"CreateAmStmt":                 node("Create", sql.GroupDefinition, "AccessMethod"),
	"CreateTrigStmt":               node("Create", sql.GroupDefinition, "Trigger"),
	"CreateEventTrigStmt":          node("Create", sql.GroupDefinition, "EventTrigger"),
	"CreatePLangStmt":              node("Create", sql.GroupDefinition, "Language"),
	"CreateExtensionStmt":          node("Create", sql.GroupDefinition, "Extension"),
	"CreateFdwStmt":                node("Create", sql.GroupDefinition, "ForeignDataWrapper"),
	"CreateForeignServerStmt":      node("Create", sql.GroupDefinition, "ForeignServer"),
	"CreateUserMappingStmt":        node("Create", sql.GroupPrivilege, "UserMapping"),
	"CreatePublicationStmt":        node("Create", sql.GroupDefinition, "Publication"),
	"CreateSubscriptionStmt":       node("Create", sql.GroupDefinition, "Subscription"),
	"CreateEnumStmt":               node("Create", sql.GroupDefinition, "Type"),
	"CreateRangeStmt":              node("Create", sql.GroupDefinition, "Type"),
	"CompositeTypeStmt":            node("Create", sql.GroupDefinition, "Type"),
	"IndexStmt":                    node("Create", sql.GroupDefinition, "Index"),
	"ViewStmt":                     node("Create", sql.GroupDefinition, "View"),
	"RuleStmt":                     node("Create", sql.GroupDefinition, "Rule"),
	"CreateRoleStmt":               node("Create", sql.GroupPrivilege, "Role"),
	"CreatedbStmt":                 node("Create", sql.GroupAdministration, "Database"),
	"CreateTableSpaceStmt":         node("Create", sql.GroupAdministration, "Tablespace"),
	"AlterCollationStmt":           node("Alter", sql.GroupDefinition, "Collation"),
	"AlterDomainStmt":              node("Alter", sql.GroupDefinition, "Domain"),
	"AlterDefaultPrivilegesStmt":   node("Alter", sql.GroupPrivilege, "DefaultPrivileges"),
	"AlterTableSpaceOptionsStmt":   node("Alter", sql.GroupAdministration, "Tablespace"),
	"AlterTableMoveAllStmt":        node("Alter", sql.GroupAdministration, "Tablespace"),
	"AlterExtensionStmt":           node("Alter", sql.GroupDefinition, "Extension"),
	"AlterExtensionContentsStmt":   node("Alter", sql.GroupDefinition, "Extension"),
	"AlterFdwStmt":                 node("Alter", sql.GroupDefinition, "ForeignDataWrapper"),
	"AlterForeignServerStmt":       node("Alter", sql.GroupDefinition, "ForeignServer"),
	"AlterUserMappingStmt":         node("Alter", sql.GroupPrivilege, "UserMapping"),
	"AlterPolicyStmt":              node("Alter", sql.GroupDefinition, "Policy"),
	"AlterEventTrigStmt":           node("Alter", sql.GroupDefinition, "EventTrigger"),
	"AlterRoleStmt":                node("Alter", sql.GroupPrivilege, "Role"),
	"AlterRoleSetStmt":             node("Alter", sql.GroupPrivilege, "Role"),
	"AlterSeqStmt":                 node("Alter", sql.GroupDefinition, "Sequence"),
	"AlterOpFamilyStmt":            node("Alter", sql.GroupDefinition, "OperatorFamily"),
	"AlterStatsStmt":               node("Alter", sql.GroupDefinition, "Statistics"),
	"AlterFunctionStmt":            node("Alter", sql.GroupDefinition, "Function"),
	"AlterOperatorStmt":            node("Alter", sql.GroupDefinition, "Operator"),
	"AlterTypeStmt":                node("Alter", sql.GroupDefinition, "Type"),
	"AlterEnumStmt":                node("Alter", sql.GroupDefinition, "Type"),
	"AlterTSDictionaryStmt":        node("Alter", sql.GroupDefinition, "TextSearchDictionary"),
	"AlterTSConfigurationStmt":     node("Alter", sql.GroupDefinition, "TextSearchConfiguration"),
	"AlterPublicationStmt":         node("Alter", sql.GroupDefinition, "Publication"),
	"AlterSubscriptionStmt":        node("Alter", sql.GroupDefinition, "Subscription"),
	"AlterDatabaseStmt":            node("Alter", sql.GroupAdministration, "Database"),
	"AlterDatabaseRefreshCollStmt": node("Alter", sql.GroupAdministration, "Database"),
	"AlterDatabaseSetStmt":         node("Alter", sql.GroupAdministration, "Database"),
	"AlterSystemStmt":              node("Alter", sql.GroupAdministration, "System"),
	"DropRoleStmt":                 node("Drop", sql.GroupPrivilege, "Role"),
	"DropdbStmt":                   node("Drop", sql.GroupAdministration, "Database"),
	"DropTableSpaceStmt":           node("Drop", sql.GroupAdministration, "Tablespace"),
	"DropUserMappingStmt":          node("Drop", sql.GroupPrivilege, "UserMapping"),
	"DropSubscriptionStmt":         node("Drop", sql.GroupDefinition, "Subscription"),
}

// objects names the kinds of objects that statements are about.
var objects = map[pgquery.ObjectType]string{
	pgquery.ObjectType_OBJECT_ACCESS_METHOD: "AccessMethod", pgquery.ObjectType_OBJECT_AGGREGATE: "Aggregate", pgquery.ObjectType_OBJECT_AMOP: "OperatorFamily",
	pgquery.ObjectType_OBJECT_AMPROC: "OperatorFamily", pgquery.ObjectType_OBJECT_ATTRIBUTE: "Type", pgquery.ObjectType_OBJECT_CAST: "Cast",
	pgquery.ObjectType_OBJECT_COLUMN: "Column", pgquery.ObjectType_OBJECT_COLLATION: "Collation", pgquery.ObjectType_OBJECT_CONVERSION: "Conversion",
	pgquery.ObjectType_OBJECT_DATABASE: "Database", pgquery.ObjectType_OBJECT_DEFAULT: "Column", pgquery.ObjectType_OBJECT_DEFACL: "DefaultPrivileges",
	pgquery.ObjectType_OBJECT_DOMAIN: "Domain", pgquery.ObjectType_OBJECT_DOMCONSTRAINT: "Domain", pgquery.ObjectType_OBJECT_EVENT_TRIGGER: "EventTrigger",
	pgquery.ObjectType_OBJECT_EXTENSION: "Extension", pgquery.ObjectType_OBJECT_FDW: "ForeignDataWrapper", pgquery.ObjectType_OBJECT_FOREIGN_SERVER: "ForeignServer",
	pgquery.ObjectType_OBJECT_FOREIGN_TABLE: "ForeignTable", pgquery.ObjectType_OBJECT_FUNCTION: "Function", pgquery.ObjectType_OBJECT_INDEX: "Index",
	pgquery.ObjectType_OBJECT_LANGUAGE: "Language", pgquery.ObjectType_OBJECT_LARGEOBJECT: "LargeObject", pgquery.ObjectType_OBJECT_MATVIEW: "MaterializedView",
	pgquery.ObjectType_OBJECT_OPCLASS: "OperatorClass", pgquery.ObjectType_OBJECT_OPERATOR: "Operator", pgquery.ObjectType_OBJECT_OPFAMILY: "OperatorFamily",
	pgquery.ObjectType_OBJECT_PARAMETER_ACL: "Parameter", pgquery.ObjectType_OBJECT_POLICY: "Policy", pgquery.ObjectType_OBJECT_PROCEDURE: "Procedure",
	pgquery.ObjectType_OBJECT_PUBLICATION: "Publication", pgquery.ObjectType_OBJECT_PUBLICATION_NAMESPACE: "Publication",
	pgquery.ObjectType_OBJECT_PUBLICATION_REL: "Publication", pgquery.ObjectType_OBJECT_ROLE: "Role", pgquery.ObjectType_OBJECT_ROUTINE: "Function",
	pgquery.ObjectType_OBJECT_RULE: "Rule", pgquery.ObjectType_OBJECT_SCHEMA: "Schema", pgquery.ObjectType_OBJECT_SEQUENCE: "Sequence",
	pgquery.ObjectType_OBJECT_SUBSCRIPTION: "Subscription", pgquery.ObjectType_OBJECT_STATISTIC_EXT: "Statistics", pgquery.ObjectType_OBJECT_TABCONSTRAINT: "Constraint",
	pgquery.ObjectType_OBJECT_TABLE: "Table", pgquery.ObjectType_OBJECT_TABLESPACE: "Tablespace", pgquery.ObjectType_OBJECT_TRANSFORM: "Transform",
	pgquery.ObjectType_OBJECT_TRIGGER: "Trigger", pgquery.ObjectType_OBJECT_TSCONFIGURATION: "TextSearchConfiguration",
	pgquery.ObjectType_OBJECT_TSDICTIONARY: "TextSearchDictionary", pgquery.ObjectType_OBJECT_TSPARSER: "TextSearchParser",
	pgquery.ObjectType_OBJECT_TSTEMPLATE: "TextSearchTemplate", pgquery.ObjectType_OBJECT_TYPE: "Type", pgquery.ObjectType_OBJECT_USER_MAPPING: "UserMapping",
	pgquery.ObjectType_OBJECT_VIEW: "View",
}

// about returns a statement about an object, in the group that the object belongs to. An
// object without a name here makes the statement unknown.
func about(k sql.Kind, t pgquery.ObjectType) sql.Node {
	n := sql.Node{Kind: k, Object: objects[t]}
	switch t {
	case pgquery.ObjectType_OBJECT_ROLE, pgquery.ObjectType_OBJECT_USER_MAPPING, pgquery.ObjectType_OBJECT_PARAMETER_ACL, pgquery.ObjectType_OBJECT_DEFACL:
		n.Group = sql.GroupPrivilege
	case pgquery.ObjectType_OBJECT_DATABASE, pgquery.ObjectType_OBJECT_TABLESPACE:
		n.Group = sql.GroupAdministration
	default:
		n.Group = sql.GroupDefinition
	}
	if n.Object == "" {
		return sql.Node{}
	}
	return n
}

// kind classifies a statement by itself, without its children; zero if it is not known.
func kind(m any, name string) sql.Node {
	if n, ok := plain[name]; ok {
		return n
	}
	switch m := m.(type) {
	case *pgquery.SelectStmt:
		return selectKind(m)
	case *pgquery.CopyStmt:
		return copyKind(m)
	case *pgquery.TransactionStmt:
		return transactionKind(m)
	case *pgquery.VariableSetStmt:
		return setKind(m)
	case *pgquery.VacuumStmt:
		if m.IsVacuumcmd {
			return node("Vacuum", sql.GroupAdministration, "")
		}
		return node("Analyze", sql.GroupAdministration, "")
	case *pgquery.CreateFunctionStmt:
		if m.IsProcedure {
			return node("Create", sql.GroupDefinition, "Procedure")
		}
		return node("Create", sql.GroupDefinition, "Function")
	case *pgquery.GrantStmt:
		return grantKind(m.IsGrant, objects[m.Objtype])
	case *pgquery.GrantRoleStmt:
		return grantKind(m.IsGrant, "Role")
	}
	return objectKind(m)
}

// objectKind classifies the statements that name the kind of object they are about.
func objectKind(m any) sql.Node {
	switch m := m.(type) {
	case *pgquery.CreateTableAsStmt:
		return about("Create", m.Objtype)
	case *pgquery.DefineStmt:
		return about("Create", m.Kind)
	case *pgquery.AlterTableStmt:
		return about("Alter", m.Objtype)
	case *pgquery.AlterOwnerStmt:
		return about("Alter", m.ObjectType)
	case *pgquery.AlterObjectSchemaStmt:
		return about("Alter", m.ObjectType)
	case *pgquery.AlterObjectDependsStmt:
		return about("Alter", m.ObjectType)
	case *pgquery.RenameStmt:
		return about("Rename", m.RenameType)
	case *pgquery.CommentStmt:
		return about("Comment", m.Objtype)
	case *pgquery.DropStmt:
		return about("Drop", m.RemoveType)
	}
	return sql.Node{}
}

func grantKind(grant bool, object string) sql.Node {
	if grant {
		return node("Grant", sql.GroupPrivilege, object)
	}
	return node("Revoke", sql.GroupPrivilege, object)
}

func selectKind(m *pgquery.SelectStmt) sql.Node {
	switch {
	case m.IntoClause != nil:
		return node("Create", sql.GroupDefinition, "Table")
	case len(m.LockingClause) > 0:
		return node("Select", sql.GroupWrite, "")
	}
	return node("Select", sql.GroupRead, "")
}

func copyKind(m *pgquery.CopyStmt) sql.Node {
	switch {
	case m.IsProgram || m.Filename != "":
		return node("Copy", sql.GroupAdministration, "")
	case m.IsFrom:
		return node("Copy", sql.GroupWrite, "")
	}
	return node("Copy", sql.GroupRead, "")
}

func transactionKind(m *pgquery.TransactionStmt) sql.Node {
	switch m.Kind {
	case pgquery.TransactionStmtKind_TRANS_STMT_BEGIN, pgquery.TransactionStmtKind_TRANS_STMT_START:
		return node("Begin", sql.GroupTransaction, "")
	case pgquery.TransactionStmtKind_TRANS_STMT_COMMIT, pgquery.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED:
		return node("Commit", sql.GroupTransaction, "")
	case pgquery.TransactionStmtKind_TRANS_STMT_ROLLBACK, pgquery.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO,
		pgquery.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
		return node("Rollback", sql.GroupTransaction, "")
	case pgquery.TransactionStmtKind_TRANS_STMT_SAVEPOINT, pgquery.TransactionStmtKind_TRANS_STMT_RELEASE:
		return node("Savepoint", sql.GroupTransaction, "")
	case pgquery.TransactionStmtKind_TRANS_STMT_PREPARE:
		return node("Prepare", sql.GroupTransaction, "")
	default:
		return sql.Node{}
	}
}

func setKind(m *pgquery.VariableSetStmt) sql.Node {
	switch m.Kind {
	case pgquery.VariableSetKind_VAR_SET_MULTI:
		return node("Set", sql.GroupTransaction, "")
	case pgquery.VariableSetKind_VAR_SET_VALUE, pgquery.VariableSetKind_VAR_SET_DEFAULT, pgquery.VariableSetKind_VAR_SET_CURRENT:
		return node("Set", sql.GroupSession, "")
	case pgquery.VariableSetKind_VAR_RESET, pgquery.VariableSetKind_VAR_RESET_ALL:
		return node("Reset", sql.GroupSession, "")
	default:
		return sql.Node{}
	}
}
