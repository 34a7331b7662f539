"""What Alembic runs to run the migrations: on the connection, and in the transaction, that upgrade.py has."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
