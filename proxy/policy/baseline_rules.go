package policy

import "github.com/cardea-dev/cardea/proxy/sql"

// isStatement returns a matcher of one kind of statement, about one kind of object unless
// that is empty.
func isStatement(kind sql.Kind, object string) func(*sql.Node) bool {
	return func(n *sql.Node) bool { return n.Kind == kind && (object == "" || n.Object == object) }
}

// definesCode matches definitions that change what other statements run.
func definesCode(n *sql.Node) bool {
	switch n.Kind {
	case "Create", "Alter", "Rename":
	default:
		return false
	}
	switch n.Object {
	case "Function", "Procedure", "Aggregate", "Operator", "OperatorClass", "OperatorFamily", "Cast", "Transform", "Conversion":
		return true
	}
	return false
}

// baselineRules are the shipped rules. Their names are part of the product's interface.
var baselineRules = []BaselineRule{
	{
		Name: "postgres-drop-database", features: []string{sql.FeatureDropDatabase}, nodes: isStatement("Drop", "Database"),
		Denies: "DROP DATABASE.",
		Attack: "One statement destroys everything at once and cannot be rolled back.",
	},
	{
		Name: "postgres-copy-program", features: []string{sql.FeatureCopyProgram},
		Denies: "COPY … FROM PROGRAM and COPY … TO PROGRAM.",
		Attack: "A login with enough rights runs any command on the database's host and leaves the gate behind.",
	},
	{
		Name: "postgres-server-files", features: []string{sql.FeatureCopyServerFile, sql.FeatureServerFile},
		Denies: "COPY from or to a file of the server, and functions and views that read, list or write its files (pg_read_file, pg_ls_dir, lo_export, pg_hba_file_rules), and CREATE TABLESPACE.",
		Attack: "Reads pg_hba.conf, keys and table files past every mask, or writes a file that the server later executes.",
	},
	{
		Name: "postgres-large-objects", features: []string{sql.FeatureLargeObject},
		Denies: "Large objects: lo_* functions, statements about them, and pg_largeobject.",
		Attack: "Carries data in and out where no column is named, so that no mask applies.",
	},
	{
		Name: "postgres-role-escalation", features: []string{sql.FeatureRoleEscalation},
		Denies: "CREATE or ALTER ROLE with SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS, and membership in any role, by GRANT, ALTER GROUP or IN ROLE: what a role may do is not in the statement.",
		Attack: "Raises the upstream login, or another role, beyond what its owner gave it.",
	},
	{
		Name: "postgres-role-change", features: []string{sql.FeatureRoleChange},
		Denies: "SET ROLE, SET SESSION AUTHORIZATION and their RESET, also by set_config.",
		Attack: "Acts under another identity than the one the session was admitted and analysed with.",
	},
	{
		Name: "postgres-credentials", features: []string{sql.FeatureCredential},
		Denies: "Statements that set a password or hold a credential: PASSWORD clauses, user mappings, connection strings; and catalogs that hold one: pg_authid, pg_shadow, pg_user_mapping.",
		Attack: "Mints a lasting login that outlives the grant and does not pass the gate.",
	},
	{
		Name: "postgres-untrusted-language", features: []string{sql.FeatureUntrustedLanguage},
		Denies: "CREATE LANGUAGE, and functions in a language other than sql and plpgsql.",
		Attack: "Code in an untrusted language runs as the server's operating-system user.",
	},
	{
		Name: "postgres-create-function", nodes: definesCode,
		Denies: "CREATE, ALTER and RENAME of functions, procedures, aggregates, operators and casts.",
		Attack: "Hides a denied statement in a body that is not analysed, to be run later by a call, a default or an operator, or under the name of a harmless function.",
	},
	{
		Name: "postgres-security-definer", features: []string{sql.FeatureSecurityDefiner},
		Denies: "CREATE or ALTER FUNCTION … SECURITY DEFINER.",
		Attack: "Leaves a door through which others act with this login's rights after the grant has ended.",
	},
	{
		Name: "postgres-do-block", features: []string{sql.FeatureDoBlock}, nodes: isStatement("Do", ""),
		Denies: "DO: anonymous code.",
		Attack: "Builds a denied statement from strings and runs it where no analysis sees it.",
	},
	{
		Name: "postgres-dynamic-sql", features: []string{sql.FeatureDynamicSQL},
		Denies: "Functions that run SQL given as a value: query_to_xml, cursor_to_xml, database_to_xml, ts_stat and their kin.",
		Attack: "Reads a masked column, or runs a denied statement, from inside a string.",
	},
	{
		Name: "postgres-function-call", features: []string{sql.FeatureFunctionCall}, nodes: isStatement("Call", ""), liftable: true,
		Denies: "Calls of functions and procedures that are not known to be free of side effects. An Allow rule that names every function of the command lifts it.",
		Attack: "What such a function does cannot be established, and what is unknown is denied: it may drop, write, or read a file.",
	},
	{
		Name: "postgres-triggers", features: []string{sql.FeatureTrigger},
		Denies: "CREATE TRIGGER and CREATE RULE, and enabling or disabling them.",
		Attack: "Makes a later, harmless-looking statement of anybody do something else, or switches an audit trigger off.",
	},
	{
		Name: "postgres-event-trigger", features: []string{sql.FeatureEventTrigger},
		Denies: "CREATE and ALTER EVENT TRIGGER.",
		Attack: "Runs code at other users' definitions, with their rights.",
	},
	{
		Name: "postgres-row-security", features: []string{sql.FeatureRowSecurity},
		Denies: "Policies, and ENABLE, DISABLE, FORCE ROW LEVEL SECURITY.",
		Attack: "Takes away the row filter that the database's owner relies on.",
	},
	{
		Name: "postgres-create-extension", features: []string{sql.FeatureCreateExtension},
		Denies: "CREATE and ALTER EXTENSION.",
		Attack: "Brings in functions with file, network or operating-system access.",
	},
	{
		Name: "postgres-load-library", features: []string{sql.FeatureLoadLibrary},
		Denies: "LOAD, functions in language c or internal, and settings that preload libraries.",
		Attack: "Loads native code into the server.",
	},
	{
		Name: "postgres-foreign-servers", features: []string{sql.FeatureForeignServer},
		Denies: "dblink, foreign data wrappers, servers, user mappings, foreign tables and IMPORT FOREIGN SCHEMA.",
		Attack: "Makes the server connect elsewhere: to carry data out, or back to itself past the gate.",
	},
	{
		Name: "postgres-replication", features: []string{sql.FeatureReplication},
		Denies: "Publications, subscriptions, replication slots, origins, logical messages and the WAL.",
		Attack: "Streams every row out unmasked, or fills the disk with retained WAL.",
	},
	{
		Name: "postgres-alter-system", features: []string{sql.FeatureAlterSystem},
		Denies: "ALTER SYSTEM and reloading the configuration.",
		Attack: "Sets archive_command or a library to load and so runs commands on the host, or turns logging off.",
	},
	{
		Name: "postgres-setting-escape", features: []string{sql.FeatureSettingEscape},
		Denies: "Settings that change how statements are read or what guards apply, such as standard_conforming_strings, client_encoding and session_replication_role, and set_config with a computed name.",
		Attack: "Makes the server read the next statement differently from how it was analysed.",
	},
	{
		Name: "postgres-catalog-write", features: []string{sql.FeatureCatalogWrite},
		Denies: "Writes to system catalogs, and their alteration; views of them alone, which would make them writable under another name.",
		Attack: "Edits names, rights and passwords beneath every check.",
	},
	{
		Name: "postgres-backend-control", features: []string{sql.FeatureBackendControl},
		Denies: "pg_terminate_backend, pg_cancel_backend and other control of foreign sessions.",
		Attack: "Ends the sessions of others.",
	},
	{
		Name: "postgres-server-control", features: []string{sql.FeatureServerControl},
		Denies: "Backup, promotion, log rotation, WAL switches, CHECKPOINT, statistics resets.",
		Attack: "Disturbs the server as a whole, or wipes traces from its log.",
	},
	{
		Name: "postgres-two-phase", features: []string{sql.FeatureTwoPhase},
		Denies: "PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED.",
		Attack: "Leaves a transaction with its locks behind after the session was cut, or finishes that of another.",
	},
	{
		Name: "kubernetes-proxy", request: isProxy,
		Denies: "The subresource proxy of nodes, services and pods.",
		Attack: "Passes any request on to the kubelet or to a pod, past the gate's rules and the API server's audit.",
	},
	{
		Name: "kubernetes-node-access", request: entersNode,
		Denies: "Subresources of nodes other than status.",
		Attack: "Reads metrics, logs and configuration of the kubelet, of every namespace at once.",
	},
	{
		Name: "kubernetes-ephemeral-containers", request: isEphemeral,
		Denies: "Adding ephemeral containers to pods, as kubectl debug does.",
		Attack: "Brings any image, and with it any rights, into a running pod, past what was reviewed when the pod was made.",
	},
	{
		Name: "kubernetes-privileged-pods", request: escapes,
		Denies: "exec, attach and port-forward into pods that are privileged, share a namespace of the node, mount its files or add dangerous capabilities; and writing such pods and what pods are made from.",
		Attack: "Leaves the container for the node, and with it for every pod and Secret on it.",
	},
	{
		Name: "kubernetes-credentials", request: mintsCredentials,
		Denies: "TokenRequest, TokenReview and writing CertificateSigningRequests.",
		Attack: "Mints a credential of the API server that outlives the grant and does not pass the gate.",
	},
	{
		Name: "kubernetes-rights", request: changesRights,
		Denies: "Writing roles, bindings, admission policies and webhooks.",
		Attack: "Gives the grant's user, or an accomplice, lasting rights; or switches off what admission forbids.",
	},
	{
		Name: "ssh-authorized-keys", ssh: letsIn,
		Denies: "Writing, removing, renaming and linking of what lies in a folder .ssh or in /etc/ssh, and of files authorized_keys; by SFTP and scp, and by commands where that is plain.",
		Attack: "Leaves a key behind by which its owner signs in past the gate when the grant has ended.",
	},
}
