import java.sql.Array;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.postgresql.PGConnection;

public class Jdbc {
    static void check(boolean ok, String what) {
        if (!ok) throw new AssertionError(what);
    }

    static List<String> names(ResultSet r, String column) throws SQLException {
        List<String> out = new ArrayList<>();
        while (r.next()) out.add(r.getString(column));
        r.close();
        return out;
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> e = System.getenv();
        boolean masked = e.containsKey("MASKED");
        Properties p = new Properties();
        p.setProperty("user", e.get("PGUSER"));
        p.setProperty("password", e.get("PGPASSWORD"));
        p.setProperty("ssl", "true");
        p.setProperty("sslmode", "verify-full");
        p.setProperty("sslrootcert", e.get("PGSSLROOTCERT"));
        String url = "jdbc:postgresql://" + e.get("PGHOST") + ":" + e.get("PGPORT") + "/" + e.get("PGDATABASE");
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            p.setProperty("preferQueryMode", mode);
            try (Connection c = DriverManager.getConnection(url, p)) {
                use(c, masked, mode);
            }
        }
        System.out.println("done");
    }

    static void use(Connection c, boolean masked, String mode) throws Exception {
        try (PreparedStatement s = c.prepareStatement("select id, name, email from customers where id = ?")) {
            for (int i = 0; i < 8; i++) { // the driver prepares on the server after five, and then reads binary
                s.setInt(1, 1);
                ResultSet r = s.executeQuery();
                check(r.next() && r.getString("name").equals("Ada"), "name");
                check(r.getString("email").equals("canary-ada@example.com") != masked, "email");
            }
        }
        try (PreparedStatement s = c.prepareStatement("select id, total, at, tags, detail from orders where id = ?")) {
            for (int i = 1; i < 8; i++) {
                s.setInt(1, i);
                ResultSet r = s.executeQuery();
                check(r.next() && r.getBigDecimal("total").doubleValue() == i * 1.5, "total");
                Array tags = r.getArray("tags");
                check(((String[]) tags.getArray())[1].equals("b" + i), "tags");
                r.getTimestamp("at");
            }
        }
        c.setAutoCommit(false);
        try (Statement s = c.createStatement()) {
            s.setFetchSize(3); // portals with a row limit
            ResultSet r = s.executeQuery("select id from orders order by id");
            int n = 0;
            while (r.next()) n++;
            check(n == 20, "rows by portal: " + n);
        }
        try (PreparedStatement s = c.prepareStatement("insert into plain (note, data) values (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            for (int i = 0; i < 20; i++) {
                s.setString(1, "jdbc " + i);
                if (mode.equals("simple")) s.setString(2, null); // the driver itself cannot send bytes then
                else s.setBytes(2, new byte[] {0, (byte) i});
                s.addBatch();
            }
            check(s.executeBatch().length == 20, "batch");
        }
        PGConnection pg = c.unwrap(PGConnection.class);
        check(pg.getCopyAPI().copyIn("copy plain (note) from stdin", new java.io.StringReader("jdbc a\njdbc b\n")) == 2, "copy in");
        java.io.StringWriter out = new java.io.StringWriter();
        pg.getCopyAPI().copyOut("copy plain (note) to stdout", out);
        check(out.toString().contains("jdbc b"), "copy out");
        c.rollback();
        c.setAutoCommit(true);
        try (Statement s = c.createStatement()) {
            s.executeQuery("select 1/0");
            check(false, "no error");
        } catch (SQLException x) {
            check(x.getSQLState().equals("22012"), x.toString());
        }
        DatabaseMetaData m = c.getMetaData();
        check(names(m.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME").contains("orders"), "tables");
        check(names(m.getColumns(null, "public", "orders", "%"), "COLUMN_NAME").contains("total"), "columns");
        check(names(m.getPrimaryKeys(null, "public", "orders"), "COLUMN_NAME").contains("id"), "primary key");
        check(names(m.getImportedKeys(null, "public", "orders"), "PKTABLE_NAME").contains("customers"), "imported keys");
        check(names(m.getIndexInfo(null, "public", "orders", false, false), "INDEX_NAME").contains("orders_total"), "indexes");
        check(names(m.getSchemas(), "TABLE_SCHEM").contains("archive"), "schemas");
        names(m.getTypeInfo(), "TYPE_NAME");
        names(m.getFunctions(null, "public", "%"), "FUNCTION_NAME");
        names(m.getTablePrivileges(null, "public", "orders"), "PRIVILEGE");
        names(m.getCatalogs(), "TABLE_CAT");
    }
}
