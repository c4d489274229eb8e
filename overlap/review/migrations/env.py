"""Run the migrations in the transaction that `overlap.review.schema.migrate` holds."""

from alembic import context

from overlap.review.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
