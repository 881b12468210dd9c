/*
 * What bindgen reads: the DPDK headers we use, and thin names for what it cannot see through.
 *
 * - Thread-locals (`rte_errno`, the lcore id) sit behind macros; naming them from Rust as extern statics crashes with some
 *   linkers. Static inline functions become ordinary symbols through bindgen's `wrap_static_fns`.
 * - Flags written as RTE_BIT64() are no literals for bindgen; as typed constants they are, and all have the same width.
 * - Struct fields that moved or became bit fields between releases are read in C.
 */
#ifndef LEAT_DPDK_SHIM_H
#define LEAT_DPDK_SHIM_H

#include <rte_config.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

#ifdef LEAT_REFERENCE
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_thash.h>
#endif

static inline int leat_errno(void)
{
	return rte_errno;
}

/* The calling thread's lcore id; LCORE_ID_ANY on a thread that the EAL does not know. */
static inline unsigned int leat_lcore_id(void)
{
	return rte_lcore_id();
}

/* 1 = up, 0 = down, negative = errno. Does not wait for autonegotiation. */
static inline int leat_link_up(uint16_t port)
{
	struct rte_eth_link link = {0};
	int ret = rte_eth_link_get_nowait(port, &link);

	return ret < 0 ? ret : link.link_status == RTE_ETH_LINK_UP;
}

static const unsigned int leat_lcore_id_any = LCORE_ID_ANY;

static const uint64_t leat_rss_ip_tcp_udp = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
static const uint64_t leat_rx_offload_rss_hash = RTE_ETH_RX_OFFLOAD_RSS_HASH;

static const uint64_t leat_mbuf_rx_rss_hash = RTE_MBUF_F_RX_RSS_HASH;
/* The driver has taken a VLAN tag off and says which. */
static const uint64_t leat_mbuf_rx_vlan_stripped = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t leat_mbuf_rx_vlan = RTE_MBUF_F_RX_VLAN;
/* How the buffer is attached to its mbuf: must outlive every other flag. */
static const uint64_t leat_mbuf_attachment = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;

static const unsigned int leat_ring_spsc_exact = RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ;

#endif
